"""A choice of variants and exit policies for all apps, what it takes by the formulas of `cost`, and what it breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schedulerd.control.contention import Contention, contention_of
from schedulerd.control.cost import (
    FLOOR_RANK,
    MEMORY_RANK,
    TOLERANCE,
    UTILISATION_RANK,
    RouteCost,
    activation_bytes,
    budget_rank,
    floor_of,
    least_drop,
    memory_scale,
    policies_of,
    route_cost,
    utilisation_of,
    wait_ms,
    weight_of,
)
from schedulerd.control.problem import AppOptions, Head, Option, PolicyOption, Problem
from schedulerd.plan import Excess

_T = TypeVar("_T")

Blob = Option | Head
"""What is loaded, with its digest and its size."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block of one app takes another option, or the app another policy."""

    position: int
    block: int | None
    """None for the policy."""
    pick: int
    """Index of the option, or of the policy in `policies_of` the app."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A policy and one option per block for every app of a problem, and what that takes. Make it with `choose`."""

    problem: Problem
    picks: tuple[tuple[int, ...], ...]
    """Index into `AppOptions.blocks[block]`, for each app and block; it says nothing past the depth of the policy."""
    policies: tuple[int, ...]
    """Index into `policies_of` each app."""
    costs: tuple[RouteCost, ...]
    users: Mapping[str, int]
    """How many blocks run each blob, or routes load it as a head."""
    memory_bytes: int
    """Of all blobs and their activations."""
    arenas_elsewhere: tuple[int, ...]
    """For each app, the most that the activations of another one's block or head take."""
    floors: tuple[float, ...]
    """`floor_of` each app."""
    contention: Contention
    """`contention_of` the apps: what each has to wait for."""
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

    def step(self, step: Step) -> Choice:
        """The choice that differs in one block or policy."""
        picks, policy = self._moved(step)
        users = dict(self.users)
        for blob, change in self._turnover(step):
            users[blob.digest] = users.get(blob.digest, 0) + change
        cost = self.cost_after(step)
        costs = _replaced(self.costs, step.position, cost)
        memory_bytes = self.memory_after(step, cost)
        return Choice(
            problem=self.problem,
            picks=_replaced(self.picks, step.position, picks),
            policies=_replaced(self.policies, step.position, policy),
            costs=costs,
            users=users,
            memory_bytes=memory_bytes,
            arenas_elsewhere=_arenas_elsewhere(costs),
            floors=self.floors,
            contention=self.contention,
            excesses=_excesses(self.problem, costs, memory_bytes, self.floors, self.contention),
        )

    def cost_after(self, step: Step) -> RouteCost:
        """What the route that a step changes costs then."""
        app = self.problem.apps[step.position]
        picks, number = self._moved(step)
        policy = policies_of(app)[number]
        return route_cost(_options(app, picks, policy), policy)

    def memory_after(self, step: Step, cost: RouteCost) -> int:
        """Resident bytes of all routes after a step; `cost` is what the route that it changes costs then."""
        users: dict[str, int] = {}
        grown_bytes = 0
        for blob, change in self._turnover(step):
            before = users.get(blob.digest, self.users.get(blob.digest, 0))
            users[blob.digest] = after = before + change
            grown_bytes += blob.memory_bytes * ((after > 0) - (before > 0))
        others_bytes, before_bytes = self.arenas_elsewhere[step.position], self.costs[step.position].arena_bytes
        more_bytes = max(others_bytes, cost.arena_bytes) - max(others_bytes, before_bytes)
        return self.memory_bytes + grown_bytes + self.problem.limits.lanes * more_bytes

    def _moved(self, step: Step) -> tuple[tuple[int, ...], int]:
        """Picks and policy of the app that a step changes."""
        picks, policy = self.picks[step.position], self.policies[step.position]
        return (picks, step.pick) if step.block is None else (_replaced(picks, step.block, step.pick), policy)

    def _turnover(self, step: Step) -> list[tuple[Blob, int]]:
        """The blobs that a step takes away (-1) and brings (1); some may be the same."""
        app, policy = self.problem.apps[step.position], self.policy(step.position)
        if step.block is None:
            after = _blobs(app, self.picks[step.position], policies_of(app)[step.pick])
            return [*((blob, -1) for blob in self.blobs(step.position)), *((blob, 1) for blob in after)]
        if not policy.reach[step.block]:
            return []
        options = app.blocks[step.block]
        return [(options[self.picks[step.position][step.block]], -1), (options[step.pick], 1)]

    @property
    def loss(self) -> float:
        """Weighted accuracy that is given up against the full models: what the optimizer minimises."""
        return sum(weight_of(a) * c.accuracy_drop for a, c in zip(self.problem.apps, self.costs, strict=True))

    def p95_ms(self, position: int) -> float:
        """Predicted 95th percentile of one app's latency."""
        waiting_ms = wait_ms(self.contention[position], self.costs)
        return self.costs[position].p95_ms + self.problem.limits.overhead_ms + waiting_ms

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
    users: dict[str, int] = {}
    memory_bytes = 0
    for blob in (blob for route in routes for blob in _blobs(*route)):
        memory_bytes += 0 if blob.digest in users else blob.memory_bytes
        users[blob.digest] = users.get(blob.digest, 0) + 1
    costs = tuple(route_cost(_options(*route), route[-1]) for route in routes)
    memory_bytes += activation_bytes(problem.limits, costs)
    floors = tuple(floor_of(app) for app in problem.apps)
    contention = contention_of([a.app for a in problem.apps], problem.limits.lanes)
    return Choice(
        problem=problem,
        picks=tuple(tuple(row) for row in picks),
        policies=numbers,
        costs=costs,
        users=users,
        memory_bytes=memory_bytes,
        arenas_elsewhere=_arenas_elsewhere(costs),
        floors=floors,
        contention=contention,
        excesses=_excesses(problem, costs, memory_bytes, floors, contention),
    )


def _options(app: AppOptions, picks: Sequence[int], policy: PolicyOption) -> tuple[Option, ...]:
    """The options that run under a policy."""
    return tuple(app.blocks[block][picks[block]] for block in range(policy.depth))


def _blobs(app: AppOptions, picks: Sequence[int], policy: PolicyOption) -> tuple[Blob, ...]:
    """What is loaded for a route."""
    return (*_options(app, picks, policy), *policy.heads)


def _arenas_elsewhere(costs: Sequence[RouteCost]) -> tuple[int, ...]:
    largest = sorted((cost.arena_bytes for cost in costs), reverse=True)[:2]
    return tuple(largest[cost.arena_bytes == largest[0]] if len(costs) > 1 else 0 for cost in costs)


def _excesses(
    problem: Problem, costs: Sequence[RouteCost], memory_bytes: int, floors: Sequence[float], contention: Contention
) -> tuple[Excess, ...]:
    found = [e for e in _uses(problem, costs, memory_bytes, floors, contention) if e[1] > 0]
    return tuple(Excess(*e) for e in sorted(found, key=lambda e: (e[2], e[0])))


def _uses(
    problem: Problem, costs: Sequence[RouteCost], memory_bytes: int, floors: Sequence[float], contention: Contention
) -> Iterator[tuple[str, float, int]]:
    """Each limit, by what share of itself it is exceeded (negative within it), and its rank."""
    limits = problem.limits
    yield "memory", (memory_bytes - limits.memory_bytes) / memory_scale(limits), MEMORY_RANK
    yield "utilisation", utilisation_of(problem, costs) / limits.utilisation_cap - 1.0, UTILISATION_RANK
    for app, cost, floor, windows in zip(problem.apps, costs, floors, contention, strict=True):
        p95_ms = cost.p95_ms + limits.overhead_ms + wait_ms(windows, costs)
        yield f"budget:{app.app.app_id}", p95_ms / app.app.budget_ms - 1.0, budget_rank(app)
        missing = floor - app.full_accuracy + cost.accuracy_drop
        yield f"floor:{app.app.app_id}", missing / (floor or 1.0), FLOOR_RANK


def excess_of(choice: Choice, rank: int) -> float:
    """Sum of the shares by which the limits of one rank are exceeded, rounding included."""
    return sum(e.share for e in choice.excesses if e.rank == rank)


def most_accurate(problem: Problem) -> Choice:
    """The best policy of every app and the best of every block; where accuracies are equal, the faster one."""
    return choose(
        problem,
        [best_picks(app) for app in problem.apps],
        [by_accuracy(app)[0] for app in problem.apps],
    )


def best_picks(app: AppOptions) -> list[int]:
    """The most accurate option of every block; where accuracies are equal, the faster one."""
    return [min(range(len(b)), key=lambda i: (b[i].accuracy_drop, b[i].latency_ms, i)) for b in app.blocks]


def by_accuracy(app: AppOptions) -> list[int]:
    """The policies from the most accurate one down, each with `best_picks`; among equals the faster first."""
    policies, picks = policies_of(app), best_picks(app)

    def order(number: int) -> tuple[float, float, int]:
        policy = policies[number]
        expected_ms = route_cost(_options(app, picks, policy), policy).expected_ms
        return least_drop(app, policy), expected_ms, number

    return sorted(range(len(policies)), key=order)


def _replaced(values: tuple[_T, ...], position: int, value: _T) -> tuple[_T, ...]:
    return (*values[:position], value, *values[position + 1 :])
