"""The plain formulation as an integer program: one binary a column, exactly one column of each group, nothing reduced.

With a group for each block and a column for each of its options it is the formulation that anyone writes first, after
LegoDNN (MobiCom'21) but for all apps at once; with one group for each app and a column for each of some routes it
chooses among these. What it holds down is what the product's problem says: memory with equal blobs counted once,
utilisation, waits and budgets at the 95th percentile, floors. It shares no code with the optimizer but the constants of
the waits.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulp

from schedulerd.optimizer.contention import Window, contention_of
from schedulerd.optimizer.problem import AppOptions, Option, Problem
from schedulerd.plan import Route

COST_SCALE: Final = 1e3
"""Costs are minimised in thousandths: solvers have absolute tolerances."""
_ROOM: Final = 1e-7
"""Above what is held, for rounding."""


@dataclass(frozen=True, slots=True)
class Column:
    """What can be taken: an option of a block, or a whole route."""

    cost: float
    """In the objective."""
    loss: float
    """Accuracy that is lost, as an absolute fraction."""
    median_ms: float
    p95_ms: float
    longest_ms: float
    """Median of its longest block."""
    arena_bytes: int
    options: tuple[Option, ...]


Groups = Sequence[Sequence[Sequence[Column]]]
"""For each app its groups, for each group its columns."""


def priced(app: AppOptions, loss: float) -> float:
    """What a loss of accuracy costs with the objective `max-accuracy`."""
    return app.app.priority * loss / app.full_accuracy


def loss_of(app: AppOptions, picks: Sequence[int]) -> float:
    """Accuracy that a route loses, by its store's model where there is one; `picks` has an option for each block."""
    if app.accuracy is None:
        return sum(block[pick].accuracy_drop for block, pick in zip(app.blocks, picks, strict=True))
    return app.accuracy.original - app.accuracy.predict(picks)


def by_block(problem: Problem) -> Groups:
    """A column for each option of each block, by drops that add up; exit policies are not considered."""
    return [
        [[column((o,), o.accuracy_drop, priced(app, o.accuracy_drop)) for o in block] for block in app.blocks]
        for app in problem.apps
    ]


def column(options: tuple[Option, ...], loss: float, cost: float) -> Column:
    """Options that are taken together."""
    return Column(
        cost=cost,
        loss=loss,
        median_ms=sum(o.latency_ms for o in options),
        p95_ms=sum(o.latency_p95_ms for o in options),
        longest_ms=max(o.latency_ms for o in options),
        arena_bytes=max(o.arena_bytes for o in options),
        options=options,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended."""

    outcome: str
    """`optimal`, `incumbent` (the time was up) or `none` (infeasible, or nothing found in time)."""
    value: float | None
    """Of the objective; None without a solution."""
    bound: float | None
    """What no solution undercuts; None where the solver does not say."""


class PlainProgram:
    """The program in PuLP. With `elastic` every limit but the floors may be exceeded, by the variables in `slacks`."""

    def __init__(self, problem: Problem, groups: Groups, *, elastic: bool = False) -> None:
        self.slacks: dict[str, pulp.LpVariable] = {}
        """By limit, named as in `Plan.binding`: by which share of itself it is exceeded."""
        self._problem = problem
        self._groups = groups
        self._elastic = elastic
        self._lp = pulp.LpProblem("plain", pulp.LpMinimize)
        self._takes = [
            [
                [self._variable(f"take_{a}_{g}_{c}", 1, pulp.LpInteger) for c in range(len(group))]
                for g, group in enumerate(own)
            ]
            for a, own in enumerate(groups)
        ]
        for group in (takes for own in self._takes for takes in own):
            self._add(pulp.lpSum(group) == 1)
        self._add_memory()
        self._add_utilisation()
        self._add_budgets()
        self._add_floors()

    # Limits.

    def _add_memory(self) -> None:
        """Blobs, and the largest activations once a lane; a blob that several groups can load has a variable."""
        limits = self._problem.limits
        scale = max(limits.memory_bytes, 10**6)
        arena = self._variable("arena")
        sizes: dict[str, int] = {}
        loaders: dict[str, dict[tuple[int, int], list[pulp.LpVariable]]] = {}
        for a, own in enumerate(self._groups):
            for g, group in enumerate(own):
                needs = [(take, c.arena_bytes / scale) for take, c in self._of(a, g)]
                self._add(pulp.LpAffineExpression(needs) <= arena)
                for take, o in ((take, o) for take, c in zip(self._takes[a][g], group, strict=True) for o in c.options):
                    sizes[o.digest] = o.memory_bytes
                    loaders.setdefault(o.digest, {}).setdefault((a, g), []).append(take)
        use = limits.lanes * arena
        for number, (digest, places) in enumerate(loaders.items()):
            resident = self._variable(f"resident_{number}", 1)
            for takes in places.values():
                self._add(pulp.lpSum(takes) <= resident)
            use += sizes[digest] / scale * resident
        self._add(use <= limits.memory_bytes / scale + self._slack("memory"))

    def _add_utilisation(self) -> None:
        limits = self._problem.limits
        busy = pulp.lpSum(
            app.app.rate_hz / 1e3 / limits.lanes / limits.utilisation_cap * self._sum(a, "median_ms")
            for a, app in enumerate(self._problem.apps)
        )
        self._add(busy <= 1.0 + self._slack("utilisation"))

    def _add_budgets(self) -> None:
        """In every window of the wait (`contention`): own blocks, requests ahead, and the longest block in the way."""
        limits, apps = self._problem.limits, self._problem.apps
        routes = [self._variable(f"route_{a}") for a in range(len(apps))]
        longest = [self._variable(f"longest_{a}") for a in range(len(apps))]
        for a, own in enumerate(self._groups):
            self._add(self._sum(a, "median_ms") <= routes[a])
            for g in range(len(own)):
                self._add(pulp.LpAffineExpression([(take, c.longest_ms) for take, c in self._of(a, g)]) <= longest[a])
        blocks: dict[tuple[int, ...], pulp.LpVariable] = {}
        for a, windows in enumerate(contention_of([app.app for app in apps], limits.lanes).windows()):
            budget_ms, name = apps[a].app.budget_ms, f"budget:{apps[a].app.app_id}"
            own_ms = self._sum(a, "p95_ms") + limits.overhead_ms
            slack = self._slack(name)
            for window in windows:
                ahead_ms = pulp.lpSum(times * routes[other] for other, times in window.ahead)
                wait_ms = ahead_ms + self._block(window, longest, blocks) - window.elapsed_ms
                self._add((own_ms + wait_ms) * (1.0 / budget_ms) <= 1.0 + slack)

    def _block(
        self, window: Window, longest: Sequence[pulp.LpVariable], blocks: dict[tuple[int, ...], pulp.LpVariable]
    ) -> Any:
        """The longest block of any app that may be in the way; one variable for the same apps."""
        if not window.blockers:
            return 0.0
        if window.blockers not in blocks:
            blocks[window.blockers] = self._variable(f"block_{len(blocks)}")
            for other in window.blockers:
                self._add(longest[other] <= blocks[window.blockers])
        return blocks[window.blockers]

    def _add_floors(self) -> None:
        """Those that some choice can keep; none asks for more than the original gives."""
        for a, app in enumerate(self._problem.apps):
            least = sum(min(c.loss for c in group) for group in self._groups[a])
            allowed = app.full_accuracy - app.app.accuracy_floor
            self._add(100.0 * self._sum(a, "loss") <= 100.0 * max(allowed, least, 0.0))

    # Objectives.

    def minimise_cost(self) -> None:
        """Sum of the costs of what is taken."""
        costs = [(take, COST_SCALE * c.cost) for a, own in enumerate(self._groups) for take, c in self._each(a, own)]
        self._lp.setObjective(pulp.LpAffineExpression(costs))

    def minimise_excess(self, limits: Iterable[str]) -> None:
        """By how much these limits are exceeded together."""
        self._lp.setObjective(pulp.lpSum(self.slacks[name] for name in limits))

    def hold_excess(self, limits: Iterable[str], reached: float) -> None:
        """From now on these limits together are exceeded by no more than `reached`."""
        self._add(pulp.lpSum(self.slacks[name] for name in limits) <= reached + _ROOM)

    # Solving and reading.

    def solve(self, solver: str, time_limit_s: float) -> Answer:
        """With `cbc` as a process, or `highs` in this one; to the optimum, or as far as it gets in time."""
        options: dict[str, Any] = {"msg": False, "timeLimit": time_limit_s, "threads": 1, "gapRel": 0.0}
        with warnings.catch_warnings():
            # PuLP 4 will want the separate package of CBC; until then the bundled one is meant.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._lp.solve(pulp.PULP_CBC_CMD(**options) if solver == "cbc" else pulp.HiGHS(**options))
        status = self._lp.sol_status
        found = status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
        value = float(pulp.value(self._lp.objective) or 0.0) if found else None
        outcome = "optimal" if status == pulp.LpSolutionOptimal else "incumbent" if found else "none"
        if solver == "cbc":
            return Answer(outcome, value, value if outcome == "optimal" else None)
        return Answer(outcome, value, float(self._lp.solverModel.getInfo().mip_dual_bound))

    def routes(self) -> dict[str, Route]:
        """What is taken, by app id."""
        return {app.app.app_id: self._route(a, app) for a, app in enumerate(self._problem.apps)}

    def _route(self, a: int, app: AppOptions) -> Route:
        taken = [max(self._of(a, g), key=lambda pair: pair[0].varValue or 0.0)[1] for g in range(len(self._groups[a]))]
        return route_of(app, [option for c in taken for option in c.options])

    # Parts.

    def _of(self, a: int, g: int) -> list[tuple[pulp.LpVariable, Column]]:
        return list(zip(self._takes[a][g], self._groups[a][g], strict=True))

    def _each(self, a: int, own: Sequence[Sequence[Column]]) -> list[tuple[pulp.LpVariable, Column]]:
        return [pair for g in range(len(own)) for pair in self._of(a, g)]

    def _sum(self, a: int, cost: str) -> pulp.LpAffineExpression:
        return pulp.LpAffineExpression([(take, getattr(c, cost)) for take, c in self._each(a, self._groups[a])])

    def _slack(self, limit: str) -> Any:
        if not self._elastic:
            return 0.0
        self.slacks[limit] = self._variable(f"over_{len(self.slacks)}")
        return self.slacks[limit]

    def _variable(self, name: str, most: float | None = None, kind: str = pulp.LpContinuous) -> pulp.LpVariable:
        return self._lp.add_variable(name, 0, most, kind)

    def _add(self, row: pulp.LpConstraint) -> None:
        self._lp.addConstraint(row)


def route_of(app: AppOptions, options: Sequence[Option]) -> Route:
    """The route that runs one option after the other, every frame to the end."""
    return Route(app.app.model, tuple(o.variant for o in options), tuple(o.digest for o in options))
