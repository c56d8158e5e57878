"""The Pareto front of a model's combinations: the least damage for every latency.

Latency and damage are both sums over blocks, so a combination that is beaten over its first blocks is beaten over all
of them: the front grows block by block, and no other combination is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blockstore.accuracy_model import Route


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One combination that no other beats."""

    latency_ms: float
    damage: float
    route: Route


def pareto_front(latencies_ms: Sequence[Sequence[float]], damages: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    """Combinations that are quicker or less damaged than every other, quickest first.

    `latencies_ms[b][v]` and `damages[b][v]` are those of variant `v` of block `b`.
    """
    points = [Point(0.0, 0.0, ())]
    for latencies, hurts in zip(latencies_ms, damages, strict=True):
        points = _kept(
            Point(p.latency_ms + ms, p.damage + damage, (*p.route, variant))
            for p in points
            for variant, (ms, damage) in enumerate(zip(latencies, hurts, strict=True))
        )
    return tuple(points)


def best_within(front: Sequence[Point], latency_ms: float) -> Point | None:
    """The least damaged combination that takes at most `latency_ms`; None where the quickest takes longer."""
    within = [p for p in front if p.latency_ms <= latency_ms]
    return within[-1] if within else None


def _kept(points: Iterable[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in sorted(points):
        if not kept or point.damage < kept[-1].damage:
            kept.append(point)
    return kept
