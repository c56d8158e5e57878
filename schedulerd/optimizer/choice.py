"""A choice of variants and exit policies for all apps, what it takes by the formulas of `cost`, and what it breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schedulerd.optimizer.accuracy import most_accurate_picks
from schedulerd.optimizer.contention import Contention, contention_of
from schedulerd.optimizer.cost import (
    FLOOR_RANK,
    MEMORY_RANK,
    POWER_RANK,
    TOLERANCE,
    UTILISATION_RANK,
    RouteCost,
    Swapping,
    activation_bytes,
    budget_rank,
    floor_of,
    least_drops,
    memory_scale,
    policies_of,
    power_of,
    route_cost,
    utilisation_of,
    waits_ms,
    weight_of,
)
from schedulerd.optimizer.problem import AppOptions, Head, Option, PolicyOption, Problem
from schedulerd.plan import Excess

Blob = Option | Head
"""What is loaded, with its digest and its size."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A policy and one option per block for every app of a problem, and what that takes. Make it with `choose`."""

    problem: Problem
    picks: tuple[tuple[int, ...], ...]
    """Index into `AppOptions.blocks[block]`, for each app and block; it says nothing past the depth of the policy."""
    policies: tuple[int, ...]
    """Index into `policies_of` each app."""
    costs: tuple[RouteCost, ...]
    memory_bytes: int
    """Of all blobs and their activations."""
    floors: tuple[float, ...]
    """`floor_of` each app."""
    contention: Contention
    """`contention_of` the apps: what each has to wait for."""
    waits_ms: tuple[float, ...]
    """How long that takes."""
    excesses: tuple[Excess, ...]
    """Every limit that is exceeded, be it by rounding, in order of rank."""

    def policy(self, position: int) -> PolicyOption:
        """The chosen policy of one app."""
        return policies_of(self.problem.apps[position])[self.policies[position]]

    def options(self, position: int) -> tuple[Option, ...]:
        """The chosen options of one app, for the blocks that its policy reaches."""
        return _options(self.problem.apps[position], self.picks[position], self.policy(position))

    def blobs(self, position: int) -> tuple[Blob, ...]:
        """What is loaded for one app; some may be the same."""
        return _blobs(self.problem.apps[position], self.picks[position], self.policy(position))

    @property
    def loss(self) -> float:
        """Weighted accuracy that is given up against the full models: what the optimizer minimises."""
        return sum(weight_of(a) * c.accuracy_drop for a, c in zip(self.problem.apps, self.costs, strict=True))

    def p95_ms(self, position: int) -> float:
        """Predicted 95th percentile of one app's latency."""
        return self.costs[position].p95_ms + self.problem.limits.overhead_ms + self.waits_ms[position]

    def tail_ms(self, position: int) -> float:
        """Predicted percentile that one app's budget is about."""
        return self.costs[position].tail_ms + self.problem.limits.overhead_ms + self.waits_ms[position]

    def broken(self) -> tuple[Excess, ...]:
        """The limits that are exceeded by more than rounding, in order of rank."""
        return tuple(e for e in self.excesses if e.share > TOLERANCE)


def choose(problem: Problem, picks: Sequence[Sequence[int]], policies: Sequence[int] | None = None) -> Choice:
    """What it takes to run `picks`, the index of the chosen option for each app and block, under `policies`.

    Those are indices into `policies_of` each app; without them each app has its first one.
    """
    numbers = tuple(policies or (0 for _ in problem.apps))
    chosen = [policies_of(app)[number] for app, number in zip(problem.apps, numbers, strict=True)]
    routes = list(zip(problem.apps, picks, chosen, strict=True))
    blobs = {blob.digest: blob.memory_bytes for route in routes for blob in _blobs(*route)}
    swapping = Swapping.of(problem)
    costs = tuple(route_cost(*route, swapping) for route in routes)
    memory_bytes = sum(blobs.values()) + activation_bytes(problem.limits, costs)
    floors = tuple(floor_of(app) for app in problem.apps)
    contention = contention_of([a.app for a in problem.apps], problem.limits.lanes)
    waiting_ms = waits_ms(contention, costs)
    return Choice(
        problem=problem,
        picks=tuple(tuple(row) for row in picks),
        policies=numbers,
        costs=costs,
        memory_bytes=memory_bytes,
        floors=floors,
        contention=contention,
        waits_ms=waiting_ms,
        excesses=_excesses(problem, costs, memory_bytes, floors, waiting_ms),
    )


def _options(app: AppOptions, picks: Sequence[int], policy: PolicyOption) -> tuple[Option, ...]:
    """The options that run under a policy."""
    return tuple(app.blocks[block][picks[block]] for block in range(policy.depth))


def _blobs(app: AppOptions, picks: Sequence[int], policy: PolicyOption) -> tuple[Blob, ...]:
    """What is loaded for a route."""
    return (*_options(app, picks, policy), *policy.heads)


def _excesses(
    problem: Problem,
    costs: Sequence[RouteCost],
    memory_bytes: int,
    floors: Sequence[float],
    waiting_ms: Sequence[float],
) -> tuple[Excess, ...]:
    found = [e for e in _uses(problem, costs, memory_bytes, floors, waiting_ms) if e[1] > 0]
    return tuple(Excess(*e) for e in sorted(found, key=lambda e: (e[2], e[0])))


def _uses(
    problem: Problem,
    costs: Sequence[RouteCost],
    memory_bytes: int,
    floors: Sequence[float],
    waiting_ms: Sequence[float],
) -> Iterator[tuple[str, float, int]]:
    """Each limit, by what share of itself it is exceeded (negative within it), and its rank."""
    limits = problem.limits
    yield "memory", (memory_bytes - limits.memory_bytes) / memory_scale(limits), MEMORY_RANK
    yield "utilisation", utilisation_of(problem, costs) / limits.utilisation_cap - 1.0, UTILISATION_RANK
    if limits.power_cap_w is not None:
        yield "power", power_of(problem, costs) / limits.power_cap_w - 1.0, POWER_RANK
    for app, cost, floor, wait_ms in zip(problem.apps, costs, floors, waiting_ms, strict=True):
        tail_ms = cost.tail_ms + limits.overhead_ms + wait_ms
        yield f"budget:{app.app.app_id}", tail_ms / app.app.budget_ms - 1.0, budget_rank(app)
        missing = floor - app.full_accuracy + cost.accuracy_drop
        yield f"floor:{app.app.app_id}", missing / (floor or 1.0), FLOOR_RANK


def most_accurate(problem: Problem) -> Choice:
    """The best policy of every app and the best of every block; where accuracies are equal, the faster one."""
    return choose(
        problem,
        [most_accurate_picks(app) for app in problem.apps],
        [by_accuracy(app)[0] for app in problem.apps],
    )


def by_accuracy(app: AppOptions) -> list[int]:
    """The policies from the most accurate one down, each with `most_accurate_picks`; among equals the faster first."""
    policies, picks, drops = policies_of(app), most_accurate_picks(app), least_drops(app)

    def order(number: int) -> tuple[float, float, int]:
        policy = policies[number]
        times_ms = (block[pick].latency_ms for block, pick in zip(app.blocks, picks, strict=True))
        beside = zip(times_ms, policy.heads_ms, policy.reach, strict=True)
        expected_ms = sum(share * (time_ms + head_ms) for time_ms, head_ms, share in beside)
        return drops[number], expected_ms, number

    return sorted(range(len(policies)), key=order)
