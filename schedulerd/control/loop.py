"""The control loop: look, decide, act. One thread owns every decision.

`turn` is one round, driven by events (an app joins or leaves, an operator asks) and by a slow tick; it reads no clock
but the one it was given and waits for nothing but the switcher. `thread.ControlThread` is the thin shell that calls it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from blockprofiles.table import Table
from schedulerd.clock import Clock
from schedulerd.config_changes import Changes
from schedulerd.control import report
from schedulerd.control.advisor import Advisor, Moment
from schedulerd.control.announcer import Announcer, Outlets
from schedulerd.control.answers import Answers, Respond
from schedulerd.control.aside import Aside, AtOnce
from schedulerd.control.background import Background
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.cameras import learn_preparation
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.correction import CorrectionSettings
from schedulerd.control.decider import Decider, Look
from schedulerd.control.drain_desk import DrainDesk, is_of_drains
from schedulerd.control.drains import Drains
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.control.edits import Edits
from schedulerd.control.exit_watch import ExitWatch
from schedulerd.control.fault_desk import FaultDesk
from schedulerd.control.keeper import Keeper
from schedulerd.control.limits import LimitsNow
from schedulerd.control.monitor import Monitor
from schedulerd.control.occasions import Cause, Occasions
from schedulerd.control.planner import Planner, PlannerSettings, Record
from schedulerd.control.reloads import Configured, LoopEvent, Reloads, Reread, reload_map
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.switcher import Switcher
from schedulerd.control.urges import Urges
from schedulerd.errors import InternalError, SchedulerdError
from schedulerd.optimizer.solvers import Solver
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.events import Asked, Faulted, Joined, Left, Viewed
from schedulerd.wire.messages import Reload


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the configuration says about the loop."""

    planner: PlannerSettings
    correction: CorrectionSettings = CorrectionSettings()  # noqa: RUF009 - frozen, so sharing the default is safe


MOST_COME: Final = 1024
"""Events that are kept while looking at the board fails again and again; beyond them nobody is answered."""


class ControlLoop:
    """State of the loop between two turns: what was seen last, what was told, and the parts that know the rest."""

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
        configured: Configured,
        background: Background | None = None,
        record: Record | None = None,
        aside: Aside | None = None,
        dropped: Callable[[], Mapping[str, int]] = dict,
        board: BoardWatch | None = None,
        keeper: Keeper | None = None,
        defaults: Callable[[], Defaults] = Defaults,
    ) -> None:
        self._registry = registry
        self._switcher = switcher
        self._monitor = monitor
        self._announcer = Announcer(outlets, clock)
        self._clock = clock
        self._background = background or Background(None, None)
        self._dropped = dropped
        self._facts = facts
        """What `status` says that never changes: version, pid, engine, lanes."""
        self._come: deque[LoopEvent] = deque()
        """Not taken in yet."""
        self._causes: list[Cause] = []
        """For the next plan, of what is taken in before the board is looked at."""
        self._waiting: list[Respond] = []
        """Who is answered after the next plan."""
        self._snapshot: Snapshot = monitor.look()
        self._exits = ExitWatch(self._announcer.publish)
        self._drift = DriftWatch(settings.correction, settings.planner.lanes, clock.now_s())
        self._drains = Drains(registry, self._announcer.publish)
        self._planner = Planner(
            catalogue,
            registry,
            switcher,
            self._exits.observed,
            solver,
            settings.planner,
            clock,
            record,
            self._drains.rests,
        )
        advisor = Advisor(registry, self._planner, solver, aside or AtOnce(), self._announcer, clock, defaults)
        self._keeper = keeper or Keeper(None, AtOnce())
        self._answers = Answers(
            self._announcer, registry, self._planner, advisor, self._keeper, self._now, self._moment
        )
        self._edits = Edits(registry, self._planner, self._keeper, self._announcer.publish)
        self._occasions = Occasions()
        self._board = board or BoardWatch(settings.planner.limits)
        self._reloads = Reloads(configured, self._planner, self._board, self._announcer.publish)
        self._urges = Urges(self._occasions, self._board, self._drift, self._exits, self._announcer, clock)
        self._faults = FaultDesk(self._planner, switcher, self._background, registry, self._announcer)
        self._decider = Decider(self._planner, switcher, registry, self._drift, self._occasions, self._announcer, clock)
        self._drain_desk = DrainDesk(
            self._drains,
            registry,
            self._planner,
            self._announcer,
            lambda: self._decider.decision,
            self._take_out,
            clock,
        )

    @property
    def plan(self) -> Plan:
        """Running now."""
        return self._planner.plan

    @property
    def is_at_rest(self) -> bool:
        """Whether no app is there."""
        return not self._registry.all()

    @property
    def decisions(self) -> int:
        """Problems solved, whether or not their plan was taken."""
        return self._planner.decisions

    # One turn.

    def turn(self, events: Sequence[LoopEvent]) -> None:
        """Look at the board, take in events, plan anew where there is a reason, answer whoever waits.

        Where looking fails the events are the next turn's; where something fails later, whoever waits is told so.
        """
        self._come.extend(events[: MOST_COME - len(self._come)])
        causes, waiting = self._drain_desk.take_in(events)  # before the look, which asks who keeps whom company
        self._causes += causes
        self._waiting += waiting
        look = self._look()
        newer = self._background.measured(self._registry.all(), self._snapshot)
        if newer is not None:
            self.use_table(newer)
        events = tuple(self._come)
        try:
            self._decide(look)
        except Exception:
            self._answer(InternalError("the control loop failed; the daemon's log says how"))
            raise
        finally:
            self._announcer.flush()
        self._exits.tell(self._registry.all(), self.plan, self._clock.now_s())
        self._announcer.misses(self._registry.all())
        self._announcer.probe(self._registry.all())
        self._keeper.tend()
        self._announcer.flush()
        self._answers.show(events)

    def _decide(self, look: Look) -> None:
        """From events to routes."""
        causes = self._take_in()
        now = self._limits()
        # A plan made for an event follows the board as well, so pressure is asked about only where there was none.
        causes = causes or self._urges.now(self._registry.all(), self.plan, self._snapshot, now)
        fault = self._decider.decide(causes, now.limits, look) if causes else None
        limits = now.limits
        self._faults.tell_stranded()
        self._drains.settle()
        self._planner.predict_anew(limits, self._drift.factors(), asked=bool(self._waiting))
        self._answer(fault)
        room_bytes = self._planner.room_bytes(limits)
        self._switcher.tidy(room_bytes, self._planner.catalogue.size_bytes)
        self._background.merge(
            self.plan, self._live(), self._planner.catalogue, room_bytes, self._snapshot, self._announcer.publish
        )
        self._background.look_ahead(
            self._planner, limits, self._drift.factors_to_plan, self._snapshot, pressed=self._urges.pressed
        )

    def _answer(self, fault: SchedulerdError | None) -> None:
        while self._waiting:
            self._answers.give(self._waiting.pop(0), fault)

    # Look.

    def _look(self) -> Look:
        began_s = self._clock.now_s()
        self._snapshot = self._monitor.look()
        contention, cpu_others = self._planner.catalogue.table.contention, self._snapshot.cpu_others
        busy = [app for app in self._registry.all() if not self._drains.rests(app)]
        self._drift.look(busy, self.plan, contention, cpu_others, self._clock.now_s())
        self._board.look(self._snapshot, self.plan, self._planner.held_bytes())
        self._planner.caps = self._board.caps
        took_ms = (self._clock.now_s() - began_s) * 1e3
        return Look(began_s, took_ms, self._snapshot.memory_available_bytes)

    def _limits(self) -> LimitsNow:
        return self._planner.limits(self._snapshot)

    def _take_in(self) -> list[Cause]:
        """Apply what changes the problem; what has to be answered is answered after the plan is in place."""
        causes, self._causes = [*self._causes, *self._faults.over(self._clock.now_s())], []
        waiting = self._waiting
        while self._come:
            event = self._come.popleft()
            if isinstance(event, Joined):
                if self._drain_desk.turns_away(event):
                    continue
                if not event.app.gone:  # who registers and leaves again and again must not keep this thread busy
                    self._edits.joined(event.app)
                    learn_preparation(event.app, self._clock)
                causes.append(Cause(f"{event.app.spec.app_id} joins", urgent=True))
                waiting.append(partial(self._answers.welcome, event))
            elif isinstance(event, Left):
                causes.append(Cause(f"{event.app.spec.app_id} leaves ({event.reason})", urgent=True))
                self._forget(event.app, event.reason)
            elif isinstance(event, Faulted):
                causes += self._faults.taken_in(event, self._clock.now_s())
            elif isinstance(event, Asked) and isinstance(event.request, Reload):
                self._reloads.read_again(event)
            elif not isinstance(event, Viewed) and not is_of_drains(event):
                cause, respond = self._reread(event) if isinstance(event, Reread) else self._asked(event)
                causes += [cause] if cause else []
                waiting += [respond] if respond else []
        return causes

    def _asked(self, event: Asked) -> tuple[Cause | None, Respond | None]:
        """Edits take effect now, so that the plan of this turn follows them; every answer shows what came of it."""
        try:
            cause = self._edits.taken_in(event.request)
        except SchedulerdError as error:
            return None, self._answers.refuse(event, error)
        return cause, partial(self._answers.answer, event)

    def _reread(self, event: Reread) -> tuple[Cause | None, Respond]:
        """What it says holds from now on, and the plan of this turn follows it; a bad one changes nothing."""
        try:
            cause, changes = self._reloads.taken_in(event)
        except SchedulerdError as error:
            return None, partial(self._end_reload, event, error, False)
        return cause, partial(self._end_reload, event, changes, cause is not None)

    def _end_reload(
        self, event: Reread, outcome: Changes | SchedulerdError, planned: bool, fault: SchedulerdError | None
    ) -> None:
        """Whoever waits is told; what kept a plan from being made does not take back what is in force."""
        self._reloads.done(outcome if isinstance(outcome, SchedulerdError) else None)
        if event.asked is None:
            return
        if isinstance(outcome, SchedulerdError):
            self._answers.refuse(event.asked, outcome)(None)
        else:
            self._answers.reloaded(event.asked, reload_map(outcome), planned, fault)

    def record_with(self, record: Record | None) -> None:
        """From now on `record` is given every decision."""
        self._planner.record = record

    def use_table(self, table: Table) -> None:
        """From now on `table` is the profile of this device; this turn plans with it."""
        self._planner.use_table(table)
        self._drift.profiled_anew()
        now_s = self._clock.now_s()
        self._occasions.later(now_s, now_s, "more of the store has been measured")

    def _live(self) -> dict[str, LiveApp]:
        return {app.spec.app_id: app for app in self._registry.all()}

    def _forget(self, app: LiveApp, reason: str) -> None:
        """An app has left. Its name may be back in the same turn, as another app that needs a route of its own."""
        self._take_out(app)
        self._drift.forget(app.spec.app_id)
        self._drains.left(app)
        self._decider.tally.left(app)
        self._announcer.left(app, reason)

    def _take_out(self, app: LiveApp) -> None:
        """The plan is without it; what runs on its route ends first."""
        name = app.spec.app_id
        self._planner.plan = self.plan.without(name)
        self._switcher.retire(name)
        self._exits.forget(name)

    def unanswered(self) -> list[Asked]:
        """Who still waits when there are no more turns."""
        return self._drains.unanswered()

    def _moment(self) -> Moment:
        factors, limits = self._drift.factors_to_plan(), self._limits().limits
        return Moment(
            self._snapshot, factors, self._planner.problem(limits, factors), self.plan, self._decider.decision
        )

    def _now(self) -> report.Now:
        return report.Now(
            facts=self._facts,
            plan=self.plan,
            decision=self._decider.decision,
            snapshot=self._snapshot,
            limits=self._limits(),
            board=self._drift.board,
            resident_bytes=self._switcher.resident_bytes(self._planner.catalogue.size_bytes),
            live_bytes=self._switcher.live_bytes(self._planner.catalogue.size_bytes),
            states=self._switcher.states(),
            apps=self._registry.all(),
            swaps=self._decider.tally.swaps,
            plan_swaps=self._switcher.swaps,
            decisions_ms=self._planner.decisions_ms,
            applied_ms=self._decider.applied_ms,
            totals=self._decider.tally.totals(self._registry.all()),
            dropped=self._dropped(),
            catalogue=self._planner.catalogue,
            objective=self._planner.objective,
            exit_history=self._exits.histories(),
            learned=self._board.learned,
            drained=self._drains.names,
            drained_all=self._drains.everyone,
        )
