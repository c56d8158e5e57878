"""Options that no best plan needs are left out before the program is built: fewer columns, the same optimum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from schedulerd.control.problem import Option, Problem

Kept = tuple[tuple[tuple[int, ...], ...], ...]
"""Indices of the options to choose from, for each app and block."""


def undominated(problem: Problem) -> Kept:
    """The options of every block without those that another one equals or betters in everything.

    An option whose blob some other block may run too can cost no memory at all, so another one betters it in memory
    only where that one is free or is the same blob.
    """
    places = Counter(digest for app in problem.apps for block in app.blocks for digest in {o.digest for o in block})
    shared = {digest for digest, count in places.items() if count > 1}
    return tuple(tuple(_front(block, shared) for block in app.blocks) for app in problem.apps)


def _front(block: Sequence[Option], shared: set[str]) -> tuple[int, ...]:
    """Indices, in the block's order. Sorted by quality, only what comes earlier can dominate."""
    order = sorted(range(len(block)), key=lambda i: (*_costs(block[i]), i))
    kept: list[int] = []
    for index in order:
        if not any(_dominates(block[other], block[index], shared) for other in kept):
            kept.append(index)
    return tuple(sorted(kept))


def _costs(option: Option) -> tuple[float, float, float, int]:
    return option.accuracy_drop, option.latency_ms, option.latency_p95_ms, option.memory_bytes


def _dominates(one: Option, other: Option, shared: set[str]) -> bool:
    """Whether nothing is lost by running `one` where `other` could run."""
    least_memory = 0 if other.digest in shared else other.memory_bytes
    return (
        one.accuracy_drop <= other.accuracy_drop
        and one.latency_ms <= other.latency_ms
        and one.latency_p95_ms <= other.latency_p95_ms
        and (one.digest == other.digest or one.memory_bytes <= least_memory)
    )
