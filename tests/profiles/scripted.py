"""An engine whose blocks take the time that a test says, on a clock that only they move."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from blockprofiles.conditions import Conditions
from blockprofiles.record import Row
from blockprofiles.table import Unusable
from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, TensorSpec, Variant
from blockstore.exits import ANY_UPSTREAM, Curve, CurvePoint, CurveSet

SPEC = TensorSpec("uint8", (2,))


@dataclass
class Clock:
    """Seconds, as `time.perf_counter` gives them."""

    now_s: float = 50.0

    def __call__(self) -> float:
        """The time now."""
        return self.now_s


@dataclass
class ScriptedOthers:
    """What other programs take: each look finds the next of `shares`, and the last for ever after."""

    shares: Sequence[float | None] = (0.0,)
    looks: int = 0

    def look(self) -> float | None:
        """The share of the time before."""
        self.looks += 1
        return self.shares[min(self.looks, len(self.shares)) - 1]

    def restart(self) -> None:
        """Nothing is kept."""


def quiet() -> Conditions:
    """Of a board where nothing else runs."""
    return Conditions(max(os.sched_getaffinity(0)), ScriptedOthers())


class Ledger:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.begun: list[str | None] = []
        self.checkpoints: list[tuple[Row, ...]] = []
        self.faults: list[Unusable] = []
        self.shares: list[float] = []
        self.lefts_s: list[float | None] = []

    def begin(self, digest: str | None) -> None:
        """See `Listener`."""
        self.begun.append(digest)

    def rows(self, rows: Sequence[Row]) -> None:
        """See `Listener`."""
        self.checkpoints.append(tuple(rows))

    def fault(self, unusable: Unusable) -> None:
        """See `Listener`."""
        self.faults.append(unusable)

    def progress(self, share: float, left_s: float | None) -> None:
        """See `Listener`."""
        self.shares.append(share)
        self.lefts_s.append(left_s)


@dataclass
class ScriptedBlock:
    """Takes `seconds` for each run, every other time `1 + wobble` times as long; gives an array of `shape`."""

    clock: Clock
    seconds: float
    shape: tuple[int, ...] = (1, 2)
    wobble: float = 0.0
    runs: int = 0

    def run(self, tensor: Any) -> Any:
        """Let the time pass."""
        self.runs += 1
        self.clock.now_s += self.seconds * (1 + self.wobble * (self.runs % 2))
        return np.zeros(self.shape, np.uint8)


@dataclass
class ScriptedHead:
    """As `ScriptedBlock`, for an exit; it keeps the tensors that it took last."""

    block: ScriptedBlock
    taken: Sequence[Any] = ()

    def run(self, tensors: Sequence[Any]) -> tuple[Any, float]:
        """Let the time pass."""
        self.taken = tensors
        return self.block.run(tensors[-1]), 0.5


@dataclass
class ScriptedEngine:
    """Loads block or head `digest` as `blocks[digest]`, in `load_seconds`; others cannot be loaded."""

    clock: Clock
    blocks: Mapping[str, ScriptedBlock]
    load_seconds: float = 0.0
    name: str = "scripted"
    threads: int = 1
    loaded: list[str] = field(default_factory=list)
    heads: dict[str, ScriptedHead] = field(default_factory=dict)
    """The last copy of each."""

    def version(self) -> str:
        """One for all tests."""
        return "1.0"

    def load(self, path: Path) -> ScriptedBlock:
        """The block, after `load_seconds`."""
        self.clock.now_s += self.load_seconds
        self.loaded.append(path.name)
        if path.name not in self.blocks:
            raise ValueError(f"{path.name} is rotten")
        return self.blocks[path.name]

    def load_apart(self, path: Path) -> ScriptedBlock:
        """As `load`."""
        return self.load(path)

    def load_head(self, path: Path) -> ScriptedHead:
        """The block as a head."""
        self.heads[path.name] = ScriptedHead(self.load(path))
        return self.heads[path.name]

    def feed(self, array: npt.NDArray[Any]) -> Any:
        """The array itself."""
        return array


def engine_of(clock: Clock, seconds: Mapping[str, float], load_seconds: float = 0.0) -> ScriptedEngine:
    """An engine for blobs that take so many seconds each."""
    return ScriptedEngine(clock, {d: ScriptedBlock(clock, s) for d, s in seconds.items()}, load_seconds)


def model_of(
    *blocks: tuple[str, ...], name: str = "net", exits: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> Model:
    """A model of blocks given as the digests of their variants, and of exits: digest -> blocks whose outputs it takes.

    All tensors are `uint8[2]`.
    """
    return Model(
        name=name,
        input=SPEC,
        output=SPEC,
        accuracy=0.9,
        evaluated_images=10,
        blocks=tuple(
            Block(index, f"block{index}", SPEC, SPEC, tuple(_variant(i, d) for i, d in enumerate(digests)))
            for index, digests in enumerate(blocks)
        ),
        exits=tuple(_exit(digest, inputs) for digest, inputs in exits.items()),
    )


def _exit(digest: str, inputs: tuple[int, ...]) -> Exit:
    artifact, curve = Artifact("scripted", digest, 1000), Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.5, 1.0),))
    return Exit(
        f"exit{digest}", inputs[-1], inputs, "branchynet", "entropy", 1.0, (artifact,), 1, 1, CurveSet((curve,))
    )


def _variant(number: int, digest: str) -> Variant:
    name, kind = (ORIGINAL, ORIGINAL) if number == 0 else (f"pruned-{number}", "pruned")
    return Variant(name, kind, (Artifact("scripted", digest, 1000),), 0.0, 1, 1)
