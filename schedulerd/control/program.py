"""The integer program over all apps: a binary per option, rows named after the limits, minimised in stages.

Formulation after LegoDNN (MobiCom'21): one descendant per block under limits on latency and memory; here for all apps
in one program, with equal blobs counted once and with the waits for other apps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pulp

from schedulerd.control.choice import (
    MEMORY_RANK,
    UTILISATION_RANK,
    Choice,
    budget_rank,
    excess_of,
    floor_of,
    memory_scale,
    route_cost,
    wait_in_ms,
    weight_of,
)
from schedulerd.control.contention import Window, contention_of
from schedulerd.control.problem import Option, Problem
from schedulerd.control.reduce import Kept

LOSS_SCALE = 1e3
"""The loss is minimised in thousandths, so that the tie-break stands above the solvers' tolerances."""
_TIE_BREAK = 1e-5
"""What the slowest routes cost more than no time at all, as weighted accuracy: far below what is measured of it."""
_ROOM = 1e-8
"""Room above what is held, for the last digits of its sum."""
_POINT = 1e-2

Terms = list[tuple[pulp.LpVariable, float]]
Coefficients = list[list[float]]
"""One number for each block and option of an app."""


class Program:
    """PuLP's problem and its variables. Rows that bind for no choice are left out, with what only they need.

    `elastic` lets every limit but the floors be exceeded by a slack; `minimise_excess` and `hold_excess` then bring
    them down rank by rank before `minimise_loss`. The variables hold the solution of the run before.
    """

    def __init__(self, problem: Problem, kept: Kept, *, elastic: bool) -> None:
        self.problem = problem
        self.kept = kept
        self.lp = pulp.LpProblem("plan", pulp.LpMinimize)
        self.slacks: dict[int, list[pulp.LpVariable]] = {}
        """By rank: by how much the limits of that rank are exceeded."""
        self._elastic = elastic
        self._options = [
            [[options[i] for i in indices] for options, indices in zip(app.blocks, row, strict=True)]
            for app, row in zip(problem.apps, kept, strict=True)
        ]
        self._take = [
            [self._binaries(f"take_{a}_{b}", len(options)) for b, options in enumerate(blocks)]
            for a, blocks in enumerate(self._options)
        ]
        self._routes: dict[int, pulp.LpVariable] = {}
        self._longest: dict[int, pulp.LpVariable] = {}
        self._blocks: dict[tuple[int, ...], pulp.LpVariable] = {}
        self._held: dict[int, pulp.LpConstraint] = {}
        self._add_choice()
        self._add_memory()
        self._add_utilisation()
        self._add_budgets()
        self._add_floors()

    # Variables.

    def _binaries(self, name: str, count: int) -> list[pulp.LpVariable]:
        return [self.lp.add_variable(f"{name}_{i}", 0, 1, pulp.LpInteger) for i in range(count)]

    def _route_of(self, a: int) -> pulp.LpVariable:
        """At least the time of the whole route of app `a`."""
        if a not in self._routes:
            self._routes[a] = self.lp.add_variable(f"route_{a}", 0)
            self._at_most([*self._terms(a, self._times_ms(a)), (self._routes[a], -1.0)], 0.0, f"route:{a}")
        return self._routes[a]

    def _longest_of(self, a: int) -> pulp.LpVariable:
        """At least the time of every block of app `a`; what a request of another app may have to wait."""
        if a not in self._longest:
            times = self._times_ms(a)
            least = max(min(row) for row in times)
            self._longest[a] = self.lp.add_variable(f"longest_{a}", least)
            for b, row in enumerate(times):
                if max(row) > least:
                    terms = list(zip(self._take[a][b], row, strict=True))
                    self._at_most([*terms, (self._longest[a], -1.0)], 0.0, f"longest:{a}:{b}")
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

    def _times_ms(self, a: int) -> Coefficients:
        return [[self.problem.slowdown * o.latency_ms for o in options] for options in self._options[a]]

    # Constraints.

    def _add_choice(self) -> None:
        for a, blocks in enumerate(self._take):
            for b, takes in enumerate(blocks):
                row = pulp.LpAffineExpression([(take, 1.0) for take in takes])
                self.lp.addConstraint(pulp.LpConstraint(row, pulp.LpConstraintEQ, f"one_of:{a}:{b}", 1.0))

    def _add_memory(self) -> None:
        """Bytes of the blobs that run, relative to the limit. A shared blob has a variable, others hang on options."""
        limit, scale = self.problem.limits.memory_bytes, memory_scale(self.problem.limits)
        sizes = {o.digest: o.memory_bytes for _, _, o, _ in self._each()}
        if sum(sizes.values()) <= limit:
            return
        takers: dict[str, dict[tuple[int, int], list[pulp.LpVariable]]] = {}
        for a, b, option, take in self._each():
            takers.setdefault(option.digest, {}).setdefault((a, b), []).append(take)
        terms: Terms = []
        for number, (digest, places) in enumerate(takers.items()):
            size = sizes[digest] / scale
            if len(places) == 1:
                terms += [(take, size) for takes in places.values() for take in takes]
                continue
            # Continuous is enough: the binaries pull it up to 1, the limit pulls it down to 0.
            resident = self.lp.add_variable(f"resident_{number}", 0, 1)
            terms.append((resident, size))
            for (a, b), takes in places.items():
                pull = [(take, 1.0) for take in takes]
                self._at_most([*pull, (resident, -1.0)], 0.0, f"resident:{number}:{a}:{b}")
        self._limit(terms, limit / scale, "memory", MEMORY_RANK)

    def _add_utilisation(self) -> None:
        """Busy share of the lanes, relative to its cap."""
        limits = self.problem.limits
        scale = self.problem.slowdown / 1000.0 / limits.lanes / limits.utilisation_cap
        use = [
            [[scale * app.app.rate_hz * o.latency_ms for o in options] for options in blocks]
            for app, blocks in zip(self.problem.apps, self._options, strict=True)
        ]
        if sum(_most(app) for app in use) > 1.0:
            terms = [term for a, app in enumerate(use) for term in self._terms(a, app)]
            self._limit(terms, 1.0, "utilisation", UTILISATION_RANK)

    def _add_budgets(self) -> None:
        """Each app's 95th percentile relative to its budget: own blocks, overhead, and the wait in every window."""
        limits, slowdown = self.problem.limits, self.problem.slowdown
        slowest = [
            route_cost([max(options, key=lambda o: o.latency_ms) for options in blocks], slowdown)
            for blocks in self._options
        ]
        contention = contention_of([app.app for app in self.problem.apps], limits.lanes)
        for a, app in enumerate(self.problem.apps):
            budget_ms, name = app.app.budget_ms, f"budget:{a}:{app.app.app_id}"
            own = [[slowdown * o.latency_p95_ms / budget_ms for o in options] for options in self._options[a]]
            left = 1.0 - limits.overhead_ms / budget_ms
            windows = [w for w in contention[a] if _most(own) + wait_in_ms(w, slowest) / budget_ms > left]
            over = self._over(name, budget_rank(app)) if windows else []
            for number, window in enumerate(windows):
                waits = [(wait, times / budget_ms) for wait, times in self._wait_in(window)]
                self._at_most(
                    [*self._terms(a, own), *waits, *over], left + window.elapsed_ms / budget_ms, f"{name}:{number}"
                )

    def _add_floors(self) -> None:
        """Accuracy drops in points. Never elastic: some choice always keeps them."""
        for a, app in enumerate(self.problem.apps):
            drops = [[o.accuracy_drop / _POINT for o in options] for options in self._options[a]]
            allowed = (app.full_accuracy - floor_of(app)) / _POINT
            if _most(drops) > allowed:
                self._at_most(self._terms(a, drops), allowed, f"floor:{a}:{app.app.app_id}")

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
        """Weighted accuracy that is given up; among equals, time."""
        slowest_ms = sum(max(o.latency_ms for o in options) for blocks in self._options for options in blocks)
        hurry = _TIE_BREAK / (slowest_ms or 1.0)
        weights = [weight_of(app) for app in self.problem.apps]
        self.lp.setObjective(
            pulp.LpAffineExpression(
                [
                    (take, LOSS_SCALE * (weights[a] * option.accuracy_drop + hurry * option.latency_ms))
                    for a, _, option, take in self._each()
                ]
            )
        )

    # Reading.

    def picks(self) -> list[list[int]]:
        """The solution: index of the chosen option for each app and block of the problem."""
        return [
            [
                row[max(range(len(row)), key=lambda i: takes[i].varValue or 0.0)]
                for row, takes in zip(rows, blocks, strict=True)
            ]
            for rows, blocks in zip(self.kept, self._take, strict=True)
        ]

    def _each(self) -> Iterator[tuple[int, int, Option, pulp.LpVariable]]:
        """App, block, option and its variable, for all that there are."""
        for a, blocks in enumerate(self._options):
            for b, options in enumerate(blocks):
                for option, take in zip(options, self._take[a][b], strict=True):
                    yield a, b, option, take

    def _terms(self, a: int, coefficients: Coefficients) -> Terms:
        return [
            term
            for takes, row in zip(self._take[a], coefficients, strict=True)
            for term in zip(takes, row, strict=True)
        ]


def _most(coefficients: Sequence[Sequence[float]]) -> float:
    """What the options of an app come to at most."""
    return sum(max(row) for row in coefficients)
