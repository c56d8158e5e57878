"""What came of a build: the model, what is known of it, what was left out, what it took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from blockstore.accuracy_model import AccuracyModel, Route
from blockstore.block import Model
from blockstore.build.costs import StageCost
from blockstore.build.front import Point, pareto_front
from blockstore.build.variants import Dropped

Latencies = tuple[tuple[float, ...], ...]
"""For each block, the median of each variant in ms, inside whole routes on the machine of the build."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What came of timing a model's variants."""

    medians_ms: Mapping[str, float]
    """By the digest of the ONNX artifact; a variant that does not run has none."""
    faults: tuple[str, ...]
    """What could not be timed and why, in words."""
    disturbed: bool
    """Whether other programs were at work meanwhile."""


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build."""

    model: Model
    accuracy: AccuracyModel
    latencies_ms: Latencies
    """Empty where they were not measured."""
    left_out: tuple[Dropped, ...]
    """Variants that are not in the store, and why."""
    costs: tuple[StageCost, ...]
    obstacle: str | None
    """The operator that prevented further cuts, where fewer blocks came out than were asked for."""
    remarks: tuple[str, ...] = ()
    """What a reader of the figures has to know."""
    removed_exits: tuple[int, ...] = ()
    """Blocks after which an exit was tried that does not pay."""

    @property
    def combinations(self) -> int:
        """How many routes the store can make of the model."""
        return math.prod(len(block.variants) for block in self.model.blocks)

    def front(self) -> tuple[Point, ...]:
        """The combinations that nothing beats by predicted damage and measured latency; none where it was not measured.

        Cosines between blocks are left aside: damages are added up (see `blockstore.accuracy_model`).
        """
        return pareto_front(self.latencies_ms, self.accuracy.damages) if self.latencies_ms else ()

    def latency_ms(self, route: Route) -> float:
        """Sum of the blocks' medians."""
        return sum(row[v] for row, v in zip(self.latencies_ms, route, strict=True))
