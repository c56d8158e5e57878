"""The integer program over all apps: a binary per option, rows named after the limits, minimised in stages.

Formulation after LegoDNN (MobiCom'21): one descendant per block under limits on latency and memory; here for all apps
in one program, with equal blobs counted once and with the waits for other apps.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulp

from schedulerd.control.choice import Choice, excess_of
from schedulerd.control.columns import ACCURACY_DROP, EXPECTED_MS, MEDIAN_MS, P95_MS, Terms, columns_of
from schedulerd.control.contention import Window, contention_of
from schedulerd.control.cost import (
    MEMORY_RANK,
    UTILISATION_RANK,
    activation_bytes,
    budget_rank,
    floor_of,
    memory_scale,
    wait_in_ms,
    weight_of,
)
from schedulerd.control.problem import Problem
from schedulerd.control.reduce import Kept

LOSS_SCALE = 1e3
"""The loss is minimised in thousandths, so that the tie-break stands above the solvers' tolerances."""
_TIE_BREAK = 1e-5
"""What the slowest routes cost more than no time at all, as weighted accuracy: far below what is measured of it."""
_ROOM = 1e-8
"""Room above what is held, for the last digits of its sum."""
_POINT = 1e-2


class Program:
    """PuLP's problem and its variables. Rows that bind for no choice are left out, with what only they need.

    `elastic` lets every limit but the floors be exceeded by a slack; `minimise_excess` and `hold_excess` then bring
    them down rank by rank before `minimise_loss`. The variables hold the solution of the run before.
    """

    def __init__(self, problem: Problem, kept: Kept, *, elastic: bool) -> None:
        self.problem = problem
        self.lp = pulp.LpProblem("plan", pulp.LpMinimize)
        self.slacks: dict[int, list[pulp.LpVariable]] = {}
        """By rank: by how much the limits of that rank are exceeded."""
        self._elastic = elastic
        self._routes: dict[int, pulp.LpVariable] = {}
        self._longest: dict[int, pulp.LpVariable] = {}
        self._blocks: dict[tuple[int, ...], pulp.LpVariable] = {}
        self._held: dict[int, pulp.LpConstraint] = {}
        self._apps = [
            columns_of(self.lp, str(a), app, kept.options[a], kept.policies[a]) for a, app in enumerate(problem.apps)
        ]
        self._slowest = [app.slowest() for app in self._apps]
        """Of each app, in everything."""
        self._add_memory()
        self._add_utilisation()
        self._add_budgets()
        self._add_floors()

    # Variables.

    def _route_of(self, a: int) -> pulp.LpVariable:
        """At least the time of the whole route of app `a`."""
        if a not in self._routes:
            self._routes[a] = self.lp.add_variable(f"route_{a}", 0)
            times = self._apps[a].terms(MEDIAN_MS)
            self._at_most([*times, (self._routes[a], -1.0)], 0.0, f"route:{a}")
        return self._routes[a]

    def _longest_of(self, a: int) -> pulp.LpVariable:
        """At least the time of every block of app `a`; what a request of another app may have to wait."""
        if a not in self._longest:
            least_ms = self._apps[a].least_longest_ms()
            self._longest[a] = self.lp.add_variable(f"longest_{a}", least_ms)
            for b in range(len(self.problem.apps[a].blocks)):
                block = self._apps[a].block(b)
                if any(column.median_ms > least_ms for column in block):
                    times = [(column.take, column.median_ms) for column in block]
                    self._at_most([*times, (self._longest[a], -1.0)], 0.0, f"longest:{a}:{b}")
        return self._longest[a]

    def _block_of(self, blockers: tuple[int, ...]) -> Terms:
        """The longest block of any of these apps."""
        if len(blockers) < 2:
            return [(self._longest_of(a), 1.0) for a in blockers]
        if blockers not in self._blocks:
            block = self._blocks[blockers] = self.lp.add_variable(f"block_{len(self._blocks)}", 0)
            for a in blockers:
                self._at_most([(self._longest_of(a), 1.0), (block, -1.0)], 0.0, f"{block.name}:{a}")
        return [(self._blocks[blockers], 1.0)]

    def _wait_in(self, window: Window) -> Terms:
        """The requests that come before one of a window, and the block in its way; `elapsed_ms` goes to the limit."""
        return [*((self._route_of(a), requests) for a, requests in window.ahead), *self._block_of(window.blockers)]

    def _arena_of_all(self, unit_bytes: float) -> pulp.LpVariable:
        """At least what the activations of every block and head that runs take."""
        least_bytes = max(app.least_arena_bytes() for app in self._apps)
        arena = self.lp.add_variable("arena", least_bytes / unit_bytes)
        for a, app in enumerate(self._apps):
            for number, place in enumerate(app.arenas()):
                if any(arena_bytes > least_bytes for _, arena_bytes in place):
                    needs = [(taken, arena_bytes / unit_bytes) for taken, arena_bytes in place]
                    self._at_most([*needs, (arena, -1.0)], 0.0, f"arena:{a}:{number}")
        return arena

    # Constraints.

    def _add_memory(self) -> None:
        """Bytes of the blobs that run and of their activations, relative to the limit.

        A shared blob has a variable, others hang on options.
        """
        limit, scale = self.problem.limits.memory_bytes, memory_scale(self.problem.limits)
        takers: dict[str, dict[tuple[int, int | None], Terms]] = {}
        sizes: dict[str, int] = {}
        for a, app in enumerate(self._apps):
            for b, digest, size_bytes, takes in app.loaded():
                sizes[digest] = size_bytes
                takers.setdefault(digest, {}).setdefault((a, b), []).extend(takes)
        if sum(sizes.values()) + activation_bytes(self.problem.limits, self._slowest) <= limit:
            return
        use: dict[pulp.LpVariable, float] = {self._arena_of_all(scale): self.problem.limits.lanes}
        for number, (digest, places) in enumerate(takers.items()):
            loaders = [take for takes in places.values() for take, _ in takes]
            if len(places) > 1:
                # Continuous is enough: the binaries pull it up to 1, the limit pulls it down to 0.
                resident = self.lp.add_variable(f"resident_{number}", 0, 1)
                loaders = [resident]
                for (a, b), takes in places.items():
                    self._at_most([*takes, (resident, -1.0)], 0.0, f"resident:{number}:{a}:{b}")
            for loader in loaders:
                use[loader] = use.get(loader, 0.0) + sizes[digest] / scale
        self._limit(list(use.items()), limit / scale, "memory", MEMORY_RANK)

    def _add_utilisation(self) -> None:
        """Busy share of the lanes, relative to its cap."""
        limits = self.problem.limits
        scale = 1e-3 / limits.lanes / limits.utilisation_cap
        rates = [scale * app.app.rate_hz for app in self.problem.apps]
        if sum(rate * app.most(EXPECTED_MS) for rate, app in zip(rates, self._apps, strict=True)) > 1.0:
            uses = (app.terms(EXPECTED_MS, rate) for rate, app in zip(rates, self._apps, strict=True))
            self._limit([term for use in uses for term in use], 1.0, "utilisation", UTILISATION_RANK)

    def _add_budgets(self) -> None:
        """Each app's 95th percentile relative to its budget: own blocks, overhead, and the wait in every window."""
        limits = self.problem.limits
        contention = contention_of([app.app for app in self.problem.apps], limits.lanes)
        for a, app in enumerate(self.problem.apps):
            budget_ms, name = app.app.budget_ms, f"budget:{a}:{app.app.app_id}"
            left_ms = budget_ms - limits.overhead_ms - self._slowest[a].p95_ms
            windows = [window for window in contention[a] if wait_in_ms(window, self._slowest) > left_ms]
            over = self._over(name, budget_rank(app)) if windows else []
            own = self._apps[a].terms(P95_MS, 1.0 / budget_ms)
            for number, window in enumerate(windows):
                waits = [(wait, times / budget_ms) for wait, times in self._wait_in(window)]
                allowed = 1.0 + (window.elapsed_ms - limits.overhead_ms) / budget_ms
                self._at_most([*own, *waits, *over], allowed, f"{name}:{number}")

    def _add_floors(self) -> None:
        """Accuracy drops in points. Never elastic: some choice always keeps them."""
        for a, app in enumerate(self.problem.apps):
            allowed = app.full_accuracy - floor_of(app)
            if self._apps[a].most(ACCURACY_DROP) > allowed:
                drops = self._apps[a].terms(ACCURACY_DROP, 1.0 / _POINT)
                self._at_most(drops, allowed / _POINT, f"floor:{a}:{app.app.app_id}")

    def _limit(self, terms: Terms, limit: float, name: str, rank: int) -> None:
        self._at_most([*terms, *self._over(name, rank)], limit, name)

    def _over(self, name: str, rank: int) -> Terms:
        """The slack of a limit, taken off what is held against it."""
        if not self._elastic:
            return []
        slack = self.lp.add_variable(f"over_{name}", 0)
        self.slacks.setdefault(rank, []).append(slack)
        return [(slack, -1.0)]

    def _at_most(self, terms: Terms, limit: float, name: str) -> pulp.LpConstraint:
        row = pulp.LpConstraint(pulp.LpAffineExpression(terms), pulp.LpConstraintLE, name, limit)
        self.lp.addConstraint(row)
        return row

    # Objectives, in the order in which they are minimised.

    def minimise_excess(self, rank: int) -> None:
        """By how much the limits of one rank are exceeded together, each as a share of itself."""
        self.lp.setObjective(pulp.LpAffineExpression([(slack, 1.0) for slack in self.slacks[rank]]))

    def hold_excess(self, ranks: Sequence[int], choice: Choice) -> None:
        """From now on the limits of these ranks are not exceeded further than `choice` does, rounding included.

        Without what is rounding, the choice that a stage ended with could be illegal in the next one.
        """
        for rank in ranks:
            reached = excess_of(choice, rank) + _ROOM
            if rank in self._held:
                self._held[rank].changeRHS(reached)
            else:
                self._held[rank] = self._at_most([(slack, 1.0) for slack in self.slacks[rank]], reached, f"held:{rank}")

    def minimise_loss(self) -> None:
        """Weighted accuracy that is given up; among equals, expected time."""
        slowest_ms = sum(app.most(MEDIAN_MS) for app in self._apps)
        hurry = _TIE_BREAK / (slowest_ms or 1.0)
        weights = [weight_of(app) for app in self.problem.apps]
        self.lp.setObjective(
            pulp.LpAffineExpression(
                [
                    (column.take, LOSS_SCALE * (weight * column.accuracy_drop + hurry * column.expected_ms))
                    for weight, app in zip(weights, self._apps, strict=True)
                    for column in app.each()
                ]
            )
        )

    # Reading.

    def solution(self) -> tuple[list[list[int]], list[int]]:
        """Index of the chosen option for each app and block of the problem, and of each app's policy, for `choose`."""
        found = [app.solution() for app in self._apps]
        return [picks for picks, _ in found], [number for _, number in found]
