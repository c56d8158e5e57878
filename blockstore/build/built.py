"""What came of a build: the model, what is known of it, what was left out, what it took."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blockstore.accuracy_model import AccuracyModel, Route
from blockstore.block import Model
from blockstore.build.costs import StageCost
from blockstore.build.front import Point, pareto_front

Latencies = tuple[tuple[float, ...], ...]
"""For each block, the median of each variant in ms, inside whole routes on the machine of the build."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A variant that is not in the store, and why."""

    block: int
    variant: str
    reason: str


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build."""

    model: Model
    accuracy: AccuracyModel
    latencies_ms: Latencies
    """Empty where they were not measured."""
    left_out: tuple[LeftOut, ...]
    costs: tuple[StageCost, ...]
    obstacle: str | None
    """The operator that prevented further cuts, where fewer blocks came out than were asked for."""

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
