"""A choice of variants and what it takes: latency, memory, utilisation, accuracy, and the limits that it breaks.

Everything that decides or reports predicts with the formulas of this file; `recheck` has its own.

The 95th percentile of an app's latency is predicted as

    own blocks' p95 + overhead
    + max over windows of (sum over apps ahead of n * route + longest block in the way - time elapsed)

where the windows and the n of each are constants of budgets and rates (`contention`, with the theory and its papers),
so that the prediction is linear in the choice but for the two maxima, which an integer program can hold down as well.
The queue is by earliest deadline and decides again at every block boundary: an urgent request waits for one block of
the less urgent ones, a less urgent request for whole requests of the more urgent ones.

The 95th percentile of the sum of blocks is bounded by the sum of the blocks' 95th percentiles. The bound has to be
linear for the integer program. It is exact when the blocks of one request are slow together (comonotone), and
that is the rule, because what makes them slow (clock, cache, another process) outlasts a block; for independent
blocks it errs on the safe side, since the root of summed squares is at most the sum. Sum of medians times the largest
ratio is linear too, and never below it. Waits count the medians of others: that they all arrive together, and just
after the longest block has started, is already the worst case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schedulerd.control.contention import Contention, Window, contention_of
from schedulerd.control.problem import AppOptions, Limits, Option, Problem
from schedulerd.plan import Excess

_T = TypeVar("_T")

TOLERANCE = 1e-6
"""Relative excess of a limit that is rounding of the solver and not a break."""

FLOOR_RANK, MEMORY_RANK, UTILISATION_RANK = 0, 1, 2
_LEAST_BUDGET_RANK = 13
"""Rank of a budget at priority 0: priority 10 comes right after utilisation."""


def budget_rank(app: AppOptions) -> int:
    """Rank of an app's budget among the limits: the higher the priority, the later it is given up."""
    return _LEAST_BUDGET_RANK - app.app.priority


def floor_of(app: AppOptions) -> float:
    """The accuracy floor that is held: never above what the original, or the best that is left of it, gives."""
    attainable = app.full_accuracy - sum(min(o.accuracy_drop for o in block) for block in app.blocks)
    return min(app.app.accuracy_floor, app.full_accuracy, attainable)


def memory_scale(limits: Limits) -> float:
    """Bytes that an excess of memory is a share of; a limit under 1 MB counts as 1 MB."""
    return max(limits.memory_bytes, 10**6)


def weight_of(app: AppOptions) -> float:
    """What one unit of accuracy drop costs: priority over full accuracy, so that each app is its own measure."""
    return app.app.priority / (app.full_accuracy or 1.0)


@dataclass(frozen=True, slots=True)
class RouteCost:
    """What one app's route takes under the present load, on its own: without overhead and waiting."""

    median_ms: float
    p95_ms: float
    longest_ms: float
    """Median of the longest block: how long another app's urgent request may have to wait."""
    accuracy_drop: float


def route_cost(options: Sequence[Option], slowdown: float) -> RouteCost:
    """Cost of running one option after the other."""
    return RouteCost(
        median_ms=slowdown * sum(o.latency_ms for o in options),
        p95_ms=slowdown * sum(o.latency_p95_ms for o in options),
        longest_ms=slowdown * max(o.latency_ms for o in options),
        accuracy_drop=sum(o.accuracy_drop for o in options),
    )


def wait_in_ms(window: Window, costs: Sequence[RouteCost]) -> float:
    """What a request waits in one window, with what each app's route costs; below 0 where all is done before it."""
    ahead_ms = sum(requests * costs[other].median_ms for other, requests in window.ahead)
    block_ms = max((costs[other].longest_ms for other in window.blockers), default=0.0)
    return ahead_ms + block_ms - window.elapsed_ms


def wait_ms(windows: Sequence[Window], costs: Sequence[RouteCost]) -> float:
    """The longest that an app's request waits for others; `windows` are its part of the contention."""
    return max(wait_in_ms(window, costs) for window in windows)


def utilisation_of(problem: Problem, costs: Sequence[RouteCost]) -> float:
    """Share of all lanes' time that the apps take at their rates."""
    busy = sum(a.app.rate_hz * c.median_ms for a, c in zip(problem.apps, costs, strict=True))
    return busy / 1000.0 / problem.limits.lanes


@dataclass(frozen=True, slots=True)
class Choice:
    """One option per block of every app of a problem, and what that takes. Make it with `choose`."""

    problem: Problem
    picks: tuple[tuple[int, ...], ...]
    """Index into `AppOptions.blocks[block]`, for each app and block."""
    costs: tuple[RouteCost, ...]
    users: Mapping[str, int]
    """How many blocks run each blob."""
    memory_bytes: int
    floors: tuple[float, ...]
    """`floor_of` each app."""
    contention: Contention
    """`contention_of` the apps: what each has to wait for."""
    excesses: tuple[Excess, ...]
    """Every limit that is exceeded, be it by rounding, in order of rank."""

    def options(self, position: int) -> tuple[Option, ...]:
        """The chosen options of one app."""
        blocks = self.problem.apps[position].blocks
        return tuple(block[pick] for block, pick in zip(blocks, self.picks[position], strict=True))

    def option(self, position: int, block: int) -> Option:
        """The chosen option of one block."""
        return self.problem.apps[position].blocks[block][self.picks[position][block]]

    def step(self, position: int, block: int, pick: int) -> Choice:
        """The choice that differs in one block."""
        picks = self.picks[position]
        moved = (*picks[:block], pick, *picks[block + 1 :])
        app = self.problem.apps[position]
        options = [o[p] for o, p in zip(app.blocks, moved, strict=True)]
        old, new = self.option(position, block), options[block]
        users = dict(self.users)
        users[old.digest] -= 1
        freed = 0 if users[old.digest] else old.memory_bytes
        added = 0 if users.get(new.digest) else new.memory_bytes
        users[new.digest] = users.get(new.digest, 0) + 1
        costs = _replaced(self.costs, position, route_cost(options, self.problem.slowdown))
        memory_bytes = self.memory_bytes - freed + added
        return Choice(
            problem=self.problem,
            picks=_replaced(self.picks, position, moved),
            costs=costs,
            users=users,
            memory_bytes=memory_bytes,
            floors=self.floors,
            contention=self.contention,
            excesses=_excesses(self.problem, costs, memory_bytes, self.floors, self.contention),
        )

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


def choose(problem: Problem, picks: Sequence[Sequence[int]]) -> Choice:
    """What it takes to run `picks`, the index of the chosen option for each app and block."""
    chosen = [[b[p] for b, p in zip(a.blocks, row, strict=True)] for a, row in zip(problem.apps, picks, strict=True)]
    users: dict[str, int] = {}
    memory_bytes = 0
    for option in (o for options in chosen for o in options):
        memory_bytes += 0 if option.digest in users else option.memory_bytes
        users[option.digest] = users.get(option.digest, 0) + 1
    costs = tuple(route_cost(options, problem.slowdown) for options in chosen)
    floors = tuple(floor_of(app) for app in problem.apps)
    contention = contention_of([a.app for a in problem.apps], problem.limits.lanes)
    return Choice(
        problem=problem,
        picks=tuple(tuple(row) for row in picks),
        costs=costs,
        users=users,
        memory_bytes=memory_bytes,
        floors=floors,
        contention=contention,
        excesses=_excesses(problem, costs, memory_bytes, floors, contention),
    )


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
    """The best of every block on its own; where accuracies are equal, the faster one."""
    return choose(
        problem,
        [
            [min(range(len(b)), key=lambda i: (b[i].accuracy_drop, b[i].latency_ms, i)) for b in app.blocks]
            for app in problem.apps
        ],
    )


def _replaced(values: tuple[_T, ...], position: int, value: _T) -> tuple[_T, ...]:
    return (*values[:position], value, *values[position + 1 :])
