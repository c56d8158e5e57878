"""Which route of a store to run at most so long: the choices of the builder's benchmark, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from blockstore.accuracy_model import AccuracyModel, Route
from blockstore.build.front import best_within, pareto_front

Table = Sequence[Sequence[float]]


def total(table: Table, route: Route) -> float:
    """Sum over the blocks of a route."""
    return sum(row[variant] for row, variant in zip(table, route, strict=True))


def most_accurate(
    known: AccuracyModel, latencies_ms: Table, limit_ms: float, allowed: Callable[[int, int], bool]
) -> Route:
    """The route of highest predicted accuracy within `limit_ms`, or the quickest where none is.

    Begins at the best of the additive front and takes the best change of one or two blocks until none helps: the
    accuracy model is not additive. `allowed(block, variant)` narrows the choice.
    """
    inf = float("inf")
    times = [[ms if allowed(b, v) else inf for v, ms in enumerate(row)] for b, row in enumerate(latencies_ms)]
    front = pareto_front(times, known.damages)
    within = [p.route for p in front if p.latency_ms <= limit_ms]
    best = max(within, key=known.predict) if within else front[0].route
    while within:
        better = [r for r in _neighbours(best, times) if total(times, r) <= limit_ms]
        candidate = max(better, key=known.predict, default=best)
        if known.predict(candidate) <= known.predict(best):
            break
        best = candidate
    return best


def peers_choice(drops: Table, alone_ms: Table, share: float) -> Route:
    """The peer's rule: least sum of drops within `share` of the original's sum of isolated times, else the quickest."""
    front = pareto_front(alone_ms, drops)
    point = best_within(front, share * total(alone_ms, (0,) * len(alone_ms)))
    return (point or front[0]).route


def _neighbours(route: Route, table: Table) -> Iterator[Route]:
    """Routes that differ in one block or two."""
    for first in range(len(route)):
        for one in range(len(table[first])):
            changed = (*route[:first], one, *route[first + 1 :])
            yield changed
            for second in range(first + 1, len(route)):
                for other in range(len(table[second])):
                    yield (*changed[:second], other, *changed[second + 1 :])
