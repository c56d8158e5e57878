"""What no choice can undercut: cheap proofs that limits cannot be kept, or that a choice exceeds them least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from schedulerd.control.choice import Choice, choose
from schedulerd.control.contention import contention_of
from schedulerd.control.cost import (
    MEMORY_RANK,
    TOLERANCE,
    UTILISATION_RANK,
    RouteCost,
    activation_bytes,
    budget_rank,
    memory_scale,
    policies_of,
    route_cost,
    wait_ms,
)
from schedulerd.control.problem import AppOptions, Option, PolicyOption, Problem


def fastest(problem: Problem) -> Choice:
    """The fastest option of every block and the policy with the fastest worst path, whatever they cost otherwise."""
    picks = [[min(range(len(b)), key=lambda i: _speed(b[i])) for b in app.blocks] for app in problem.apps]
    return choose(problem, picks, [_fastest_policy(*route) for route in zip(problem.apps, picks, strict=True)])


def _speed(option: Option) -> tuple[float, float, float]:
    return option.latency_p95_ms, option.latency_ms, option.accuracy_drop


def _fastest_policy(app: AppOptions, picks: list[int]) -> int:
    options = [block[pick] for block, pick in zip(app.blocks, picks, strict=True)]
    costs = [route_cost(options[: policy.depth], policy) for policy in policies_of(app)]
    return min(range(len(costs)), key=lambda i: (costs[i].p95_ms, costs[i].expected_ms, costs[i].accuracy_drop))


def least_excesses(problem: Problem) -> dict[int, float]:
    """By rank, the sum of shares by which its limits are exceeded at least; ranks that may be kept are absent.

    Each block is taken at its own minimum of time and of memory, and blobs that other blocks have too as free.
    """
    limits = problem.limits
    found = {
        MEMORY_RANK: (_least_memory_bytes(problem) - limits.memory_bytes) / memory_scale(limits),
        UTILISATION_RANK: _least_utilisation(problem) / limits.utilisation_cap - 1.0,
    }
    costs = [_least_cost(app) for app in problem.apps]
    contention = contention_of([a.app for a in problem.apps], limits.lanes)
    for app, cost, windows in zip(problem.apps, costs, contention, strict=True):
        p95_ms = cost.p95_ms + limits.overhead_ms + wait_ms(windows, costs)
        over = p95_ms / app.app.budget_ms - 1.0
        found[budget_rank(app)] = found.get(budget_rank(app), 0.0) + max(0.0, over)
    return {rank: share for rank, share in found.items() if share > TOLERANCE}


def _least_memory_bytes(problem: Problem) -> int:
    places = Counter(digest for app in problem.apps for digests in _places(app) for digest in digests)
    blobs_bytes = sum(min(_own_bytes(app, policy, places) for policy in policies_of(app)) for app in problem.apps)
    return blobs_bytes + activation_bytes(problem.limits, map(_least_cost, problem.apps))


def _places(app: AppOptions) -> Iterator[set[str]]:
    """What may be loaded for each block, and for the heads of a route."""
    yield from ({o.digest for o in block} for block in app.blocks)
    yield {head.digest for policy in app.policies for head in policy.heads}


def _own_bytes(app: AppOptions, policy: PolicyOption, places: Counter[str]) -> int:
    """What a route takes at least that nothing else may have loaded."""
    heads = {head.digest: head.memory_bytes for head in policy.heads if places[head.digest] == 1}
    blocks = app.blocks[: policy.depth]
    least = (min(o.memory_bytes if places[o.digest] == 1 else 0 for o in block) for block in blocks)
    return sum(least) + sum(heads.values())


def _least_utilisation(problem: Problem) -> float:
    busy = sum(app.app.rate_hz * _least_cost(app).expected_ms for app in problem.apps)
    return busy / 1000.0 / problem.limits.lanes


def _least_cost(app: AppOptions) -> RouteCost:
    """What no route of an app undercuts: waits grow with each of these, so they give the least ones."""
    costs = [route_cost(_ideal(app)[: policy.depth], policy) for policy in policies_of(app)]
    return RouteCost(
        median_ms=min(cost.median_ms for cost in costs),
        p95_ms=min(cost.p95_ms for cost in costs),
        longest_ms=min(cost.longest_ms for cost in costs),
        expected_ms=min(cost.expected_ms for cost in costs),
        accuracy_drop=min(cost.accuracy_drop for cost in costs),
        arena_bytes=min(cost.arena_bytes for cost in costs),
    )


def _ideal(app: AppOptions) -> list[Option]:
    """For each block an option that has the best of all in everything."""
    return [
        Option(
            variant="ideal",
            digest="",
            latency_ms=min(o.latency_ms for o in block),
            latency_p95_ms=min(o.latency_p95_ms for o in block),
            memory_bytes=min(o.memory_bytes for o in block),
            arena_bytes=min(o.arena_bytes for o in block),
            accuracy_drop=min(o.accuracy_drop for o in block),
        )
        for block in app.blocks
    ]
