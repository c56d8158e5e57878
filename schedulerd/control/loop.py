"""The control loop: look, decide, act. One thread owns every decision.

`turn` is one round, driven by events (an app joins or leaves, an operator asks) and by a slow tick; it reads no clock
but the one it was given and waits for nothing but the switcher. `thread.ControlThread` is the thin shell that calls it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from blockprofiles.table import Table
from schedulerd.clock import Clock
from schedulerd.config import LimitsConfig
from schedulerd.control import report
from schedulerd.control.announcer import Announcer, Outlets, registered
from schedulerd.control.background import Background
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.correction import CorrectionSettings
from schedulerd.control.damping import DampingSettings, keep_or_change
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.control.exit_watch import ExitWatch
from schedulerd.control.explain import sentence
from schedulerd.control.factors import Factors
from schedulerd.control.holdings import LoadFailed, LoadTimedOut
from schedulerd.control.limits import LimitsNow, limits_now
from schedulerd.control.monitor import Monitor
from schedulerd.control.optimizer import solve
from schedulerd.control.plan_report import Decision, plan_map
from schedulerd.control.predict import offers, predict
from schedulerd.control.problem import AppOptions, Limits, Problem
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.solvers import Solver
from schedulerd.control.switcher import Switcher
from schedulerd.errors import BadValue, InternalError, SchedulerdError, StoreFault
from schedulerd.plan import EMPTY_PLAN, Plan, RouteChange, difference
from schedulerd.serving.admission import check_budget_ms
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.events import Asked, Event, Joined, Left
from schedulerd.wire.messages import Answer, Failure, SetBudget, SetLimit

log = structlog.get_logger(__name__)

ROOM_TO_GROW = 1.1
"""A memory limit that bound the plan must grow by this factor before it alone is a reason to plan anew."""
RETRY_S = 5.0
"""When to try again after a plan could not be put in place."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the configuration says about deciding."""

    limits: LimitsConfig
    lanes: int
    damping: DampingSettings
    correction: CorrectionSettings = CorrectionSettings()  # noqa: RUF009 - frozen, so sharing the default is safe


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a plan is made. What somebody asked for is urgent and never damped; what the board does is weighed."""

    text: str
    urgent: bool


Respond = Callable[[SchedulerdError | None], None]
"""Answers somebody once the turn has planned; it is told what kept the plan from being put in place, if anything."""


class ControlLoop:
    """State of the loop between two turns: the running plan, the operator's limit, what was seen last."""

    def __init__(
        self,
        catalogue: Catalogue,
        registry: Registry,
        switcher: Switcher,
        monitor: Monitor,
        solver: Solver,
        settings: LoopSettings,
        outlets: Outlets,
        clock: Clock,
        facts: Mapping[str, Any],
        background: Background | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._switcher = switcher
        self._monitor = monitor
        self._solver = solver
        self._settings = settings
        self._announcer = Announcer(outlets, clock)
        self._clock = clock
        self._background = background or Background(None, None)
        self._facts = facts
        """What `status` says that never changes: version, pid, engine, lanes."""
        self.plan = EMPTY_PLAN
        self._planned_limit_bytes = 0
        """What the last solved problem assumed, whether or not its plan was taken."""
        self.decisions = 0
        """Problems solved, whether or not their plan was taken."""
        self._reconsider_at_s = math.inf
        """When to plan again although nothing has happened."""
        self._reconsider_why = ""
        self._predicted_with: Factors | None = None
        """Behind the predictions of the running plan; None where it was planned since, for the board believed in."""
        self._pressed: tuple[str, ...] = ()
        """The pressure that was told last."""
        self._decision = Decision("start", "no app has joined yet", apply_ms=0.0, at_s=clock.now_s())
        self._operator_memory_bytes: int | None = None
        self._snapshot: Snapshot = monitor.look()
        self._changed_at_s = clock.now_s()
        self._exits = ExitWatch(self._announcer.publish)
        self._drift = DriftWatch(settings.correction, settings.lanes, clock.now_s())
        self._swaps: dict[str, int] = {}
        self._departed = report.Totals()
        """Counts of apps that have left, so that the daemon's own never fall."""

    # One turn.

    def turn(self, events: Sequence[Event]) -> None:
        """Take in events, look at the board, plan anew where there is a reason, answer whoever waits."""
        self._look()
        newer = self._background.measured(self._registry.all(), self._clock.now_s())
        if newer is not None:
            self.use_table(newer)
        causes, waiting = self._take_in(events)
        limits = self._limits().limits
        # A plan made for an event follows the board as well, so pressure is asked about only where there was none.
        causes = causes or [*self._pressure(limits), *self._drift_at_exits()]
        fault = self._replan(causes, limits) if causes else None
        self._predict_anew(limits)
        for respond in waiting:
            self._respond(respond, fault)
        room_bytes = self._room_bytes(limits)
        self._switcher.tidy(room_bytes, self._catalogue.size_bytes)
        self._background.merge(self.plan, self._live(), self._catalogue, room_bytes, self._announcer.publish)
        self._exits.tell(self._registry.all(), self.plan, self._clock.now_s())
        self._announcer.misses(self._registry.all())
        self._announcer.probe(self._registry.all())
        self._announcer.flush()

    # Look.

    def _look(self) -> None:
        self._snapshot = self._monitor.look()
        contention, cpu_others = self._catalogue.table.contention, self._snapshot.cpu_others
        self._drift.look(self._registry.all(), self.plan, contention, cpu_others, self._clock.now_s())

    def _limits(self) -> LimitsNow:
        return limits_now(
            self._snapshot,
            self._settings.limits,
            self._operator_memory_bytes,
            self._switcher.resident_bytes(self._catalogue.size_bytes) + self._arena_bytes(),
            lanes=self._settings.lanes,
        )

    def _arena_bytes(self) -> int:
        return self._switcher.arena_bytes(self._catalogue.arena_bytes)

    def _room_bytes(self, limits: Limits) -> int:
        """What is left of the memory limit for blobs, warm ones too, beside the activations."""
        return max(0, limits.memory_bytes - limits.lanes * self._arena_bytes())

    def _take_in(self, events: Sequence[Event]) -> tuple[list[Cause], list[Respond]]:
        """Apply what changes the problem; what has to be answered is answered after the plan is in place."""
        causes: list[Cause] = []
        waiting: list[Respond] = []
        for event in events:
            if isinstance(event, Joined):
                causes.append(Cause(f"{event.app.spec.app_id} joins", urgent=True))
                waiting.append(partial(self._welcome, event))
            elif isinstance(event, Left):
                causes.append(Cause(f"{event.app.spec.app_id} leaves ({event.reason})", urgent=True))
                self._forget(event.app, event.reason)
            else:
                cause, respond = self._asked(event)
                causes += [cause] if cause else []
                waiting.append(respond)
        return causes, waiting

    def _asked(self, event: Asked) -> tuple[Cause | None, Respond]:
        """Edits take effect now, so that the plan of this turn follows them; every answer shows what came of it."""
        request = event.request
        cause: Cause | None = None
        try:
            if isinstance(request, SetBudget):
                cause = self._set_budget(request)
            elif isinstance(request, SetLimit):
                cause = self._set_limit(request)
        except SchedulerdError as error:
            failure = Failure(request.id, error.code, str(error))
            return None, lambda _: self._announcer.answer(event.identity, failure)
        return cause, partial(self._answer, event)

    def _set_budget(self, request: SetBudget) -> Cause:
        check_budget_ms(request.budget_ms)
        app = self._registry.named(request.app)
        before_ms = app.spec.budget_ms
        app.spec = replace(app.spec, budget_ms=request.budget_ms)
        self._announcer.publish("budget", {"app": request.app, "before_ms": before_ms, "budget_ms": request.budget_ms})
        return Cause(f"budget of {request.app} {before_ms:g} -> {request.budget_ms:g} ms", urgent=True)

    def _set_limit(self, request: SetLimit) -> Cause:
        if request.what != "memory":
            raise BadValue(f"limit {request.what!r} is unknown; the limit that can be set is 'memory'")
        if request.value_bytes is not None and request.value_bytes <= 0:
            raise BadValue(f"memory limit is {request.value_bytes} bytes; give more than 0, or `auto`")
        self._operator_memory_bytes = request.value_bytes
        self._announcer.publish("limit", {"what": "memory", "value_bytes": request.value_bytes})
        shown = "auto" if request.value_bytes is None else f"{request.value_bytes / 1e6:.1f} MB"
        return Cause(f"memory limit set to {shown}", urgent=True)

    # Decide.

    def _pressure(self, limits: Limits) -> list[Cause]:
        """Reasons that come from the board, not from anybody's wish."""
        if not self.plan.apps:
            return []
        pressed = tuple(self._pressing(limits))
        if pressed != self._pressed:
            self._pressed = pressed
            self._announcer.pressure(pressed, self._drift.board, self._snapshot.cpu_others, limits.memory_bytes)
        causes = [Cause(text, urgent=False) for text in pressed]
        if self._clock.now_s() >= self._reconsider_at_s:
            causes.append(Cause(self._reconsider_why, urgent=False))
        return causes

    def _pressing(self, limits: Limits) -> Iterator[str]:
        """What has moved away from what the last solved problem assumed."""
        before, now = self._planned_limit_bytes, limits.memory_bytes
        if now != before and self.plan.memory_bytes > now:
            yield f"memory pressure: {(self.plan.memory_bytes - now) / 1e6:.1f} MB over what is available"
        elif "memory" in self.plan.binding and now > ROOM_TO_GROW * before:
            yield "memory is available again"
        yield from self._drift.causes()

    def _drift_at_exits(self) -> list[Cause]:
        """Reasons that come from what frames do at exits."""
        texts = self._exits.look(self._registry.all(), self.plan, self._clock.now_s())
        return [Cause(text, urgent=False) for text in texts]

    def _replan(self, causes: Sequence[Cause], limits: Limits) -> SchedulerdError | None:
        """Solve, damp, switch; what kept the plan from being put in place, for those who wait for it.

        Blobs that cannot be loaded are left out and the problem is solved again: each time there are fewer.
        """
        cause = "; ".join(c.text for c in causes)
        urgent = any(c.urgent for c in causes)
        try:
            while True:
                try:
                    self._plan_once(cause, urgent, limits)
                    return None
                except LoadFailed as failed:
                    for digest, reason in failed.reasons.items():
                        log.error("block_unusable", digest=digest, reason=reason)
                    broken = self._catalogue.broken | failed.reasons.keys()
                    self._catalogue = replace(self._catalogue, broken=broken)
        except LoadTimedOut as late:
            log.error("plan_put_off", cause=cause, reason=str(late), retry_s=RETRY_S)
            fault: SchedulerdError = StoreFault(f"{late}; the routes are as before, and it is tried again")
        except Exception as error:
            log.exception("plan_failed", cause=cause)
            fault = InternalError(f"no plan could be made: {type(error).__name__}; see the daemon's log")
        self._reconsider(self._clock.now_s() + RETRY_S, "another try after a plan that failed")
        return fault

    def _plan_once(self, cause: str, urgent: bool, limits: Limits) -> None:
        factors = self._drift.factors_to_plan()
        problem = Problem(self._options(factors), limits)
        began_s = self._clock.now_s()
        candidate = solve(problem, self._solver, self.plan.number + 1)
        solved_s = self._clock.now_s()
        self.decisions += 1
        candidate = replace(candidate, solve_ms=(solved_s - began_s) * 1e3)
        decision = keep_or_change(
            self._running_under(problem),
            candidate,
            urgent=urgent,
            since_change_s=solved_s - self._changed_at_s,
            settings=self._settings.damping,
        )
        # What was planned for is noted even when the routes stay, or the same drift would ask again every tick.
        self._drift.planned(factors, solved_s)
        self._predicted_with = None
        self._planned_limit_bytes = limits.memory_bytes
        self._reconsider_at_s = math.inf
        if not decision.change:
            log.debug("plan_kept", cause=cause, reason=decision.reason)
            if difference(self.plan, candidate):
                # Later the same problem has the same answer, so it is worth another try only where the plan was young.
                due_s = self._changed_at_s + self._settings.damping.min_dwell_s
                if due_s > solved_s:
                    self._reconsider(due_s, "a change held back against flapping is due")
            else:
                # The same routes, as they are predicted now; the profile may want them with other threads.
                same = replace(candidate, number=self.plan.number)
                self._switcher.apply(same, (), self._live(), self._room_bytes(limits), self._catalogue)
                self.plan = same
            return
        before = self.plan
        changes = difference(before, candidate)
        self._switcher.apply(candidate, changes, self._live(), self._room_bytes(limits), self._catalogue)
        applied_s = self._clock.now_s()
        self.plan = candidate
        self._changed_at_s = applied_s
        self._decision = Decision(cause, sentence(before, candidate, cause), (applied_s - solved_s) * 1e3, applied_s)
        self._count_swaps(changes)
        body = plan_map(self.plan, self._decision, self._catalogue, self._registry.all(), applied_s)
        self._announcer.plan(self.plan, self._decision, body, changes)

    def _reconsider(self, at_s: float, why: str) -> None:
        self._reconsider_at_s, self._reconsider_why = at_s, why

    def _options(self, factors: Factors) -> tuple[AppOptions, ...]:
        """The choices of every live app. An app with no usable block left for it is left out."""
        found = []
        for app in self._registry.all():
            try:
                found.append(self._catalogue.options(app.spec, self._exits.observed(app.spec.app_id), factors))
            except StoreFault as fault:
                log.error("app_without_blocks", app=app.spec.app_id, reason=str(fault))
        return tuple(found)

    def _running_under(self, problem: Problem) -> Plan:
        """The running routes as the present problem sees them; apps without a route that is offered are absent."""
        routes = {a.app_id: a.route for a in self.plan.apps}
        present = tuple(a for a in problem.apps if (r := routes.get(a.app.app_id)) is not None and offers(a, r))
        return predict(
            replace(problem, apps=present),
            {a.app.app_id: routes[a.app.app_id] for a in present},
            self.plan.number,
        )

    def _predict_anew(self, limits: Limits) -> None:
        """What the running routes take as the board is now, where it has changed too little for another plan."""
        factors = self._drift.factors()
        if factors == self._predicted_with or not self.plan.apps:
            return
        self._predicted_with, before = factors, self.plan
        now = self._running_under(Problem(self._options(factors), limits))
        if len(now.apps) == len(before.apps):
            self.plan = replace(now, status=before.status, gap=before.gap, solve_ms=before.solve_ms, note=before.note)

    def use_table(self, table: Table) -> None:
        """From now on `table` is the profile of this device; this turn plans with it."""
        known = self._catalogue
        # What turned out to be unusable is not offered any more; while it is in memory its size has to be known.
        lost = tuple(row for row in known.table.rows if row.digest not in table)
        self._catalogue = replace(
            known,
            table=replace(table, rows=(*table.rows, *lost)),
            broken=known.broken | {row.digest for row in lost},
        )
        self._drift.profiled_anew()
        self._reconsider(self._clock.now_s(), "more of the store has been measured")

    # Act.

    def _live(self) -> dict[str, LiveApp]:
        return {app.spec.app_id: app for app in self._registry.all()}

    def _count_swaps(self, changes: Sequence[RouteChange]) -> None:
        for change in changes:
            if change.old is not None and change.new is not None:
                self._swaps[change.app_id] = self._swaps.get(change.app_id, 0) + 1

    def _forget(self, app: LiveApp, reason: str) -> None:
        """An app has left. Its name may be back in the same turn, as another app that needs a route of its own."""
        spec = app.spec
        self.plan = self.plan.without(spec.app_id)
        self._switcher.retire(spec.app_id)
        self._departed += report.Totals.of(app, self._swaps.pop(spec.app_id, 0))
        self._exits.forget(spec.app_id)
        self._drift.forget(spec.app_id)
        self._announcer.left(app, reason)

    def _welcome(self, event: Joined, fault: SchedulerdError | None) -> None:
        app = event.app
        planned = self.plan.app(app.spec.app_id)
        if app.gone:
            return
        if app.route is None or planned is None:
            self._registry.remove(app)
            fault = fault or StoreFault(
                f"no route for {app.spec.model!r} could be loaded; see `schedulerd store verify`"
            )
            self._announcer.reply(app, Failure(event.message_id, fault.code, str(fault)))
            return
        self._announcer.publish("app", {"app": app.spec.app_id, "model": app.spec.model, "change": "joined"})
        model = self._catalogue.models[app.spec.model]
        self._announcer.reply(app, registered(event.message_id, app, planned, self.plan.number, model))

    def _respond(self, respond: Respond, fault: SchedulerdError | None) -> None:
        """Answer one request; a fault while answering must not keep the others waiting."""
        try:
            respond(fault)
        except Exception:
            log.exception("answer_failed")

    def _answer(self, event: Asked, fault: SchedulerdError | None) -> None:
        try:
            if fault is not None and isinstance(event.request, SetBudget | SetLimit):
                raise fault
            reply: Answer | Failure = Answer(event.request.id, report.answer(event.request, self._now()))
        except SchedulerdError as error:
            reply = Failure(event.request.id, error.code, str(error))
        self._announcer.answer(event.identity, reply)

    def _now(self) -> report.Now:
        return report.Now(
            facts=self._facts,
            plan=self.plan,
            decision=self._decision,
            snapshot=self._snapshot,
            limits=self._limits(),
            board=self._drift.board,
            resident_bytes=self._switcher.resident_bytes(self._catalogue.size_bytes),
            states=self._switcher.states(),
            apps=self._registry.all(),
            swaps=self._swaps,
            departed=self._departed,
            catalogue=self._catalogue,
            exit_history=self._exits.histories(),
        )
