"""What no choice can undercut: cheap proofs that limits cannot be kept, or that a choice exceeds them least."""

from __future__ import annotations

from collections import Counter

from schedulerd.control.choice import (
    MEMORY_RANK,
    TOLERANCE,
    UTILISATION_RANK,
    Choice,
    RouteCost,
    budget_rank,
    choose,
    memory_scale,
    wait_ms,
)
from schedulerd.control.contention import contention_of
from schedulerd.control.problem import AppOptions, Problem


def fastest(problem: Problem) -> Choice:
    """The fastest option of every block, whatever it costs otherwise."""
    return choose(
        problem,
        [
            [
                min(range(len(b)), key=lambda i: (b[i].latency_p95_ms, b[i].latency_ms, b[i].accuracy_drop))
                for b in blocks
            ]
            for blocks in (app.blocks for app in problem.apps)
        ],
    )


def least_excesses(problem: Problem) -> dict[int, float]:
    """By rank, the sum of shares by which its limits are exceeded at least; ranks that may be kept are absent.

    Each block is taken at its own minimum of time and of memory, and blobs that other blocks have too as free.
    """
    limits = problem.limits
    found = {
        MEMORY_RANK: (_least_memory_bytes(problem) - limits.memory_bytes) / memory_scale(limits),
        UTILISATION_RANK: _least_utilisation(problem) / limits.utilisation_cap - 1.0,
    }
    costs = [_least_cost(app, problem.slowdown) for app in problem.apps]
    contention = contention_of([a.app for a in problem.apps], limits.lanes)
    for app, cost, windows in zip(problem.apps, costs, contention, strict=True):
        p95_ms = cost.p95_ms + limits.overhead_ms + wait_ms(windows, costs)
        over = p95_ms / app.app.budget_ms - 1.0
        found[budget_rank(app)] = found.get(budget_rank(app), 0.0) + max(0.0, over)
    return {rank: share for rank, share in found.items() if share > TOLERANCE}


def _least_memory_bytes(problem: Problem) -> int:
    blocks = [block for app in problem.apps for block in app.blocks]
    places = Counter(digest for block in blocks for digest in {o.digest for o in block})
    return sum(min(o.memory_bytes if places[o.digest] == 1 else 0 for o in block) for block in blocks)


def _least_utilisation(problem: Problem) -> float:
    busy = sum(app.app.rate_hz * min(o.latency_ms for o in block) for app in problem.apps for block in app.blocks)
    return problem.slowdown * busy / 1000.0 / problem.limits.lanes


def _least_cost(app: AppOptions, slowdown: float) -> RouteCost:
    """What no route of an app undercuts: waits grow with each of these, so they give the least ones."""
    return RouteCost(
        median_ms=slowdown * sum(min(o.latency_ms for o in block) for block in app.blocks),
        p95_ms=slowdown * sum(min(o.latency_p95_ms for o in block) for block in app.blocks),
        longest_ms=slowdown * max(min(o.latency_ms for o in block) for block in app.blocks),
        accuracy_drop=sum(min(o.accuracy_drop for o in block) for block in app.blocks),
    )
