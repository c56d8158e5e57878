"""The integer program over all apps: a binary per option, rows named after the limits, minimised in stages.

Formulation after LegoDNN (MobiCom'21, section 4.3): one descendant per block under limits on latency and memory, here
for all apps in one program, with blobs counted once and with the wait for another app's block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pulp

from schedulerd.control.choice import (
    MEMORY_RANK,
    UTILISATION_RANK,
    budget_rank,
    floor_of,
    weight_of,
)
from schedulerd.control.problem import Option, Problem
from schedulerd.control.reduce import Kept

LOSS_SCALE = 1e3
"""The loss is solved for in thousandths, so that the tie-break stands above the solvers' tolerances."""
_TIE_BREAK = 1e-5
"""What the slowest routes cost more than no time at all, as weighted accuracy: far below what is measured of it."""
_MEGABYTE = 1e6
_POINT = 1e-2

Terms = list[tuple[pulp.LpVariable, float]]


class Program:
    """PuLP's problem with its variables. `elastic` gives every limit but floors a slack to exceed it by.

    Rows that cannot bind, whatever is chosen, are left out, with the variables that only they need.
    """

    def __init__(self, problem: Problem, kept: Kept, *, elastic: bool) -> None:
        self.problem = problem
        self.kept = kept
        self.elastic = elastic
        self.lp = pulp.LpProblem("plan", pulp.LpMinimize)
        self.slacks: dict[int, list[pulp.LpVariable]] = {}
        """By rank: how far the limits of that rank are exceeded."""
        self._options = [
            [[b[i] for i in row] for b, row in zip(app.blocks, rows, strict=True)]
            for app, rows in zip(problem.apps, kept, strict=True)
        ]
        self._take = [
            [
                [self.lp.add_variable(f"take_{a}_{b}_{i}", 0, 1, pulp.LpInteger) for i in range(len(options))]
                for b, options in enumerate(blocks)
            ]
            for a, blocks in enumerate(self._options)
        ]
        for a, blocks in enumerate(self._take):
            for b, takes in enumerate(blocks):
                self._row([(x, 1.0) for x in takes], pulp.LpConstraintEQ, 1.0, f"one_of:{a}:{b}")
        self._add_memory()
        self._add_utilisation()
        self._add_budgets()
        self._add_floors()
        self._loss = self._loss_terms()

    # Constraints.

    def _add_memory(self) -> None:
        """Bytes of the blobs that are run: those of one place hang on their options, shared ones have a variable."""
        limit = self.problem.limits.memory_bytes
        sizes = {o.digest: o.memory_bytes for blocks in self._options for options in blocks for o in options}
        if sum(sizes.values()) <= limit:
            return
        takers: dict[str, list[list[pulp.LpVariable]]] = {}
        for options, takes in self._blocks():
            here: dict[str, list[pulp.LpVariable]] = {}
            for option, take in zip(options, takes, strict=True):
                here.setdefault(option.digest, []).append(take)
            for digest, variables in here.items():
                takers.setdefault(digest, []).append(variables)
        terms: Terms = []
        for number, (digest, places) in enumerate(takers.items()):
            size = sizes[digest] / _MEGABYTE
            if len(places) == 1:
                terms += [(take, size) for take in places[0]]
                continue
            # Continuous is enough: the options that pull it up are binary.
            resident = self.lp.add_variable(f"resident_{number}", 0, 1)
            terms.append((resident, size))
            for place, variables in enumerate(places):
                pulled = [(take, 1.0) for take in variables]
                self._at_most([*pulled, (resident, -1.0)], 0.0, f"resident:{number}:{place}")
        self._limit(terms, limit / _MEGABYTE, "memory", MEMORY_RANK)

    def _add_utilisation(self) -> None:
        """Busy share of the lanes, relative to the cap."""
        limits = self.problem.limits
        scale = self.problem.slowdown / 1000.0 / limits.lanes / limits.utilisation_cap
        terms: Terms = []
        for app, blocks, takes in zip(self.problem.apps, self._options, self._take, strict=True):
            terms += _weighted(blocks, takes, [[scale * app.app.rate_hz * o.latency_ms for o in b] for b in blocks])
        if sum(self._largest(terms)) > 1.0:
            self._limit(terms, 1.0, "utilisation", UTILISATION_RANK)

    def _add_budgets(self) -> None:
        """Each app's 95th percentile, relative to its budget: own blocks, overhead, one block of another app."""
        slowdown = self.problem.slowdown
        worst = [slowdown * max(o.latency_ms for b in blocks for o in b) for blocks in self._options]
        waits = _Waits(self, worst)
        for a, app in enumerate(self.problem.apps):
            budget_ms = app.app.budget_ms
            blocks = self._options[a]
            own_ms = slowdown * sum(max(o.latency_p95_ms for o in b) for b in blocks)
            wait_ms = max((w for other, w in enumerate(worst) if other != a), default=0.0)
            left_ms = budget_ms - self.problem.limits.overhead_ms
            if own_ms + wait_ms <= left_ms:
                continue
            per_budget = [[slowdown * o.latency_p95_ms / budget_ms for o in b] for b in blocks]
            terms = _weighted(blocks, self._take[a], per_budget)
            terms += [(wait, 1.0 / budget_ms) for wait in waits.of(a)]
            self._limit(terms, left_ms / budget_ms, f"budget:{a}:{app.app.app_id}", budget_rank(app))

    def _add_floors(self) -> None:
        """Accuracy drops of an app in points; never elastic, because some option always keeps the floor."""
        for a, app in enumerate(self.problem.apps):
            blocks = self._options[a]
            terms = _weighted(blocks, self._take[a], [[o.accuracy_drop / _POINT for o in b] for b in blocks])
            most = (app.full_accuracy - floor_of(app)) / _POINT
            if sum(max(o.accuracy_drop for o in b) for b in blocks) / _POINT > most:
                self._at_most(terms, most, f"floor:{a}:{app.app.app_id}")
