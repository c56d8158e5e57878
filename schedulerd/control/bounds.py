"""What no choice can undercut: cheap proofs that limits cannot be kept, or that a choice exceeds them least."""

from __future__ import annotations

from collections import Counter

from schedulerd.control.choice import (
    MEMORY_RANK,
    TOLERANCE,
    UTILISATION_RANK,
    Choice,
    budget_rank,
    choose,
    memory_scale,
)
from schedulerd.control.problem import Problem


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
    for position, app in enumerate(problem.apps):
        over = _least_p95_ms(problem, position) / app.app.budget_ms - 1.0
        found[budget_rank(app)] = found.get(budget_rank(app), 0.0) + max(0.0, over)
    return {rank: share for rank, share in found.items() if share > TOLERANCE}


def _least_memory_bytes(problem: Problem) -> int:
    blocks = [block for app in problem.apps for block in app.blocks]
    places = Counter(digest for block in blocks for digest in {o.digest for o in block})
    return sum(min(o.memory_bytes if places[o.digest] == 1 else 0 for o in block) for block in blocks)


def _least_utilisation(problem: Problem) -> float:
    busy = sum(app.app.rate_hz * min(o.latency_ms for o in block) for app in problem.apps for block in app.blocks)
    return problem.slowdown * busy / 1000.0 / problem.limits.lanes


def _least_p95_ms(problem: Problem, position: int) -> float:
    own = sum(min(o.latency_p95_ms for o in block) for block in problem.apps[position].blocks)
    wait = max(
        (
            min(o.latency_ms for o in block)
            for other, app in enumerate(problem.apps)
            if other != position
            for block in app.blocks
        ),
        default=0.0,
    )
    return problem.slowdown * (own + wait) + problem.limits.overhead_ms
