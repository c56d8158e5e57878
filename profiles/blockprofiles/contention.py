"""What company does to latency: other lanes at work, and programs that are not ours. Measured in the profile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slowdown:
    """By what the times of blocks are multiplied, 1 on a quiet board."""

    median: float = 1.0
    p95: float = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One measured load and what it does."""

    load: float
    slowdown: Slowdown


@dataclass(frozen=True, slots=True)
class Contention:
    """Curves of one device: straight lines between measured points, level beyond the last."""

    lanes: tuple[Point, ...] = ()
    """`load`: lanes that run blocks at once, from 1."""
    others: tuple[Point, ...] = ()
    """`load`: share of all cores that programs of others take, 0 to 1, with one lane running."""
    complete: bool = False
    """Whether they were measured for as long as a full profile does; else the next one measures them anew."""

    def of_lanes(self, lanes: float) -> Slowdown:
        """With so many lanes at work; 1 where no curve was measured."""
        return _at(self.lanes, lanes)

    def of_others(self, share: float) -> Slowdown:
        """Beside programs that take `share` of all cores; 1 where no curve was measured."""
        return _at(self.others, share)


def _at(points: Sequence[Point], load: float) -> Slowdown:
    below = [p for p in points if p.load <= load]
    above = [p for p in points if p.load > load]
    if not below or not above:
        return below[-1].slowdown if below else above[0].slowdown if above else Slowdown()
    low, high = below[-1], above[0]
    share = (load - low.load) / (high.load - low.load)
    return Slowdown(
        low.slowdown.median + share * (high.slowdown.median - low.slowdown.median),
        low.slowdown.p95 + share * (high.slowdown.p95 - low.slowdown.p95),
    )
