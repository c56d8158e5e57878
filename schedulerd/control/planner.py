"""Makes the problem of this moment out of what is live, and decides: the next plan, and whether it is worth the change.

What the decision rests on is gathered here and nowhere else: the choices of every live app, what it runs, what is in
memory, the limits, and what the operator wants. Putting a plan in place is the loop's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from blockprofiles.table import Table
from schedulerd.clock import Clock
from schedulerd.config import LimitsConfig
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.factors import Factors
from schedulerd.control.hurried import Hurried
from schedulerd.control.limits import NO_CAPS, LimitsNow, limits_now
from schedulerd.control.policies import Observed
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.switcher import Switcher
from schedulerd.errors import EngineFault, Refused, StoreFault
from schedulerd.optimizer.damping import DampingSettings, Decision, keep_or_change
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.objectives import MAX_ACCURACY
from schedulerd.optimizer.predict import offers, predict
from schedulerd.optimizer.problem import AppOptions, Limits, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.plan import EMPTY_PLAN, Plan
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.buckets import DECISION_MS, Buckets

log = structlog.get_logger(__name__)

SWAP_COST: Final = 0.002
"""`Problem.swap_cost`: under half of what damping asks of a change that nobody asked for. It decides between plans that
are nearly as good, so that an edit for one app leaves the routes of the others alone."""
PREDICT_EVERY_S: Final = 1.0
"""How often the running plan is predicted anew for a board that moves, where nobody asks."""

Record = Callable[[Problem, Plan], None]
"""Keeps a problem with the plan that was found for it. It must not raise."""


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """What the configuration says about deciding."""

    limits: LimitsConfig
    lanes: int
    damping: DampingSettings
    objective: str = MAX_ACCURACY
    """Until the operator wants another."""
    decide_within_s: float = math.inf
    """From a look at the board to a decision."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best plan for a problem, and whether it is to replace the running one."""

    problem: Problem
    running: Plan
    """The running routes under that problem; what it no longer offers is as it was predicted last."""
    plan: Plan
    decision: Decision
    at_s: float
    """When it was decided."""


class Planner:
    """The running plan and everything that the next one is decided on; the control thread is the only caller."""

    def __init__(
        self,
        catalogue: Catalogue,
        registry: Registry,
        switcher: Switcher,
        observed: Callable[[str], Observed | None],
        solver: Solver,
        settings: PlannerSettings,
        clock: Clock,
        record: Record | None = None,
        rests: Callable[[LiveApp], bool] = lambda _: False,
    ) -> None:
        """Nobody runs anything yet.

        Args: catalogue: models and profile; registry: of the live apps; switcher: asked what is in memory, never told
        anything; observed: what an app's frames did at exits; solver; settings; clock; record: is given every decision;
        rests: whether an app is to have no part in plans.
        """
        self.catalogue = catalogue
        self.plan = EMPTY_PLAN
        """Running now."""
        self.settings = settings
        self.operator_objective: str | None = None
        """What the operator wants to be best; None where he leaves it to the configuration."""
        self.operator_memory_bytes: int | None = None
        """The limit that the operator set; None where he set none."""
        self.caps = NO_CAPS
        """What a squeeze and heat leave at present."""
        self.decisions = 0
        """Problems solved, whether or not their plan was taken."""
        self.decisions_ms = Buckets(DECISION_MS)
        """What they took."""
        self.changed_at_s = clock.now_s()
        """When the running plan was put in place."""
        self.stranded: Mapping[str, Refused] = {}
        """Why nothing can be run for an app, by name."""
        self._registry = registry
        self._switcher = switcher
        self._observed = observed
        self._solver = solver
        self._clock = clock
        self.record = record
        self._rests = rests
        self._memo = Memo()
        self._predicted_with: Factors | None = None
        """Behind the predictions of the running plan; None where it was planned since, for the board believed in."""
        self._predicted_at_s = clock.now_s()

    @property
    def objective(self) -> str:
        """What the next plan is to be best at."""
        return self.operator_objective or self.settings.objective

    # Limits.

    def limits(self, snapshot: Snapshot, operator_memory_bytes: int | None = None) -> LimitsNow:
        """What the apps may use now, or would if the operator set `operator_memory_bytes`."""
        return limits_now(
            snapshot,
            self.settings.limits,
            operator_memory_bytes or self.operator_memory_bytes,
            self.held_bytes(),
            lanes=self.settings.lanes,
            caps=self.caps,
        )

    def held_bytes(self) -> int:
        """What blobs, warm ones too, and activations take of the board."""
        return self._switcher.resident_bytes(self.catalogue.size_bytes) + self._arena_bytes()

    def room_bytes(self, limits: Limits) -> int:
        """What is left of the memory limit for blobs, warm ones too, beside the activations."""
        return max(0, limits.memory_bytes - limits.lanes * self._arena_bytes())

    def _arena_bytes(self) -> int:
        return self._switcher.arena_bytes(self.catalogue.arena_bytes)

    # The problem.

    def problem(self, limits: Limits, factors: Factors) -> Problem:
        """What there is to decide now, with times by `factors`."""
        return Problem(
            apps=self._options(factors),
            limits=limits,
            objective=self.objective,
            resident=self._switcher.resident(),
            swap_cost=SWAP_COST,
        )

    def _options(self, factors: Factors) -> tuple[AppOptions, ...]:
        """The choices of every live app. An app with no usable block left for it is left out."""
        found, stranded = [], {}
        for app in self._registry.all():
            if self._rests(app):
                continue
            name, planned = app.spec.app_id, self.plan.app(app.spec.app_id)
            try:
                options = self.catalogue.options(app.spec, self._observed(name), factors)
            except (StoreFault, EngineFault) as fault:
                log.error("app_without_blocks", app=name, reason=str(fault))
                stranded[name] = fault
            else:
                found.append(replace(options, running=planned.route if planned else None))
        self.stranded = stranded
        return tuple(found)

    # Decide.

    def propose(self, limits: Limits, factors: Factors, *, urgent: bool, from_s: float | None = None) -> Proposal:
        """Solve the problem of this moment and weigh the plan against the running one.

        Args: limits; factors: that times are planned with; urgent: somebody asked, so nothing is damped; from_s: when
        the look at the board began that this is for, None where the time for it begins now.
        """
        began_s = self._clock.now_s()
        problem = self.problem(limits, factors)
        until_s = (began_s if from_s is None else from_s) + self.settings.decide_within_s
        solver = Hurried(self._solver, until_s, self._clock)
        candidate = solve(problem, solver, self.plan.number + 1, self._memo)
        solved_s = self._clock.now_s()
        self.decisions += 1
        self._predicted_with = None
        candidate = replace(candidate, solve_ms=(solved_s - began_s) * 1e3)
        self.decisions_ms.add(candidate.solve_ms)
        if self.record is not None:
            self.record(problem, candidate)
        running = self._running_under(problem)
        # Where the clock was set back nobody knows how long the plan has stood; it must not stand for good.
        self.changed_at_s = min(self.changed_at_s, solved_s)
        decision = keep_or_change(
            problem,
            running,
            candidate,
            urgent=urgent,
            since_change_s=solved_s - self.changed_at_s,
            settings=self.settings.damping,
        )
        known = tuple(running.app(a.app_id) or a for a in self.plan.apps)
        return Proposal(problem, replace(running, apps=known), candidate, decision, solved_s)

    def adopt(self, plan: Plan, at_s: float) -> None:
        """`plan` is in place since `at_s`."""
        self.plan, self.changed_at_s = plan, at_s

    def predict_anew(self, limits: Limits, factors: Factors, *, asked: bool) -> None:
        """What the running routes take as the board is now, where it has changed too little for another plan.

        At once where somebody has `asked`, or the plan is new; else now and then, for it takes milliseconds that the
        lanes want. A fault leaves what was predicted last: it must not keep those waiting who want to know what was
        decided.
        """
        if factors == self._predicted_with or not self.plan.apps:
            return
        now_s = self._clock.now_s()
        lately = 0.0 <= now_s - self._predicted_at_s < PREDICT_EVERY_S
        if lately and self._predicted_with is not None and not asked:
            return
        self._predicted_at_s = now_s
        try:
            self._predict_with(limits, factors)
        except Exception:
            log.exception("prediction_failed")

    def _predict_with(self, limits: Limits, factors: Factors) -> None:
        self._predicted_with, before = factors, self.plan
        now = self._running_under(self.problem(limits, factors))
        if len(now.apps) == len(before.apps):
            self.plan = replace(now, status=before.status, gap=before.gap, solve_ms=before.solve_ms, note=before.note)

    def _running_under(self, problem: Problem) -> Plan:
        """The running routes as the present problem sees them; apps without a route that is offered are absent."""
        present = tuple(a for a in problem.apps if a.running is not None and offers(a, a.running))
        routes = {a.app.app_id: a.running for a in present if a.running is not None}
        return predict(replace(problem, apps=present), routes, self.plan.number)

    # What there is to choose from.

    def leave_out(self, digests: Collection[str]) -> None:
        """These blobs cannot be loaded, and are offered no more."""
        self.catalogue = replace(self.catalogue, broken=self.catalogue.broken | frozenset(digests))

    def ban(self, digests: Collection[str]) -> None:
        """These blobs, and no others, failed as they ran and are not offered for now."""
        self.catalogue = replace(self.catalogue, banned=frozenset(digests))

    def use_table(self, table: Table) -> None:
        """From now on `table` is the profile of this device."""
        known = self.catalogue
        # What turned out to be unusable is not offered any more; while it is in memory its size has to be known.
        lost = tuple(row for row in known.table.rows if row.digest not in table)
        self.catalogue = replace(
            known,
            table=replace(table, rows=(*table.rows, *lost)),
            broken=known.broken | {row.digest for row in lost},
        )
