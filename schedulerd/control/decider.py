"""Decide and act: a plan for the causes of a turn, whether it is worth the change, and putting it in place.

Every decision is told, with its cause, what it changed and the time that each stage took: looking at the board,
solving, loading and swapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from schedulerd.clock import Clock
from schedulerd.control.announcer import Announcer
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.control.holdings import LoadFailed, LoadTimedOut
from schedulerd.control.occasions import Cause, Occasions
from schedulerd.control.plan_report import Decision, plan_map
from schedulerd.control.planner import Planner, Proposal
from schedulerd.control.staging import affordable
from schedulerd.control.switcher import Switcher
from schedulerd.control.tally import Tally
from schedulerd.errors import InternalError, SchedulerdError, StoreFault
from schedulerd.optimizer.damping import Decision as Verdict
from schedulerd.optimizer.explain import sentence
from schedulerd.optimizer.predict import offers, predict
from schedulerd.optimizer.problem import Limits
from schedulerd.plan import Plan, RouteChange, difference
from schedulerd.serving.apps import Registry
from schedulerd.serving.buckets import DECISION_MS, Buckets

log = structlog.get_logger(__name__)

RETRY_S: Final = 5.0
"""When to try again after a plan could not be put in place."""


@dataclass(frozen=True, slots=True)
class Look:
    """When the board was looked at for a decision, and how long that took."""

    at_s: float
    """When it began."""
    took_ms: float
    free_bytes: int | None = None
    """Of the board's memory; None where that cannot be read."""


class Decider:
    """The last decision, and the parts that the next one needs."""

    def __init__(
        self,
        planner: Planner,
        switcher: Switcher,
        registry: Registry,
        drift: DriftWatch,
        occasions: Occasions,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        """Nothing has been decided yet.

        Args: planner: solves; switcher: puts plans in place; registry: of the live apps; drift: of times; occasions:
        are told what was decided; announcer: tells it; clock.
        """
        self._planner = planner
        self._switcher = switcher
        self._registry = registry
        self._drift = drift
        self._occasions = occasions
        self._announcer = announcer
        self._clock = clock
        self.tally = Tally()
        self.applied_ms = Buckets(DECISION_MS)
        """What putting plans in place took that changed routes, their loads included."""
        self.decision = Decision("start", "no app has joined yet", apply_ms=0.0, at_s=clock.now_s())
        """That put the running plan in place."""

    def decide(self, causes: Sequence[Cause], limits: Limits, look: Look) -> SchedulerdError | None:
        """Solve, damp, switch; what kept the plan from being put in place, for those who wait for it.

        Blobs that cannot be loaded are left out and the problem is solved again: each time there are fewer.
        """
        cause = "; ".join(c.text for c in causes)
        urgent = any(c.urgent for c in causes)
        try:
            while True:
                try:
                    self._decide_once(cause, urgent, limits, look)
                    return None
                except LoadFailed as failed:
                    for digest, reason in failed.reasons.items():
                        log.error("block_unusable", digest=digest, reason=reason)
                    if failed.reasons.keys() <= self._planner.catalogue.broken:
                        raise  # left out already, and wanted all the same: by a route that stays
                    self._planner.leave_out(failed.reasons.keys())
        except (LoadFailed, LoadTimedOut) as late:
            log.error("plan_put_off", cause=cause, reason=str(late), retry_s=RETRY_S)
            fault: SchedulerdError = StoreFault(f"{late}; the routes are as before, and it is tried again")
        except Exception as error:
            log.exception("plan_failed", cause=cause)
            why = str(error) if isinstance(error, SchedulerdError) else f"{type(error).__name__}; see the daemon's log"
            fault = InternalError(f"no plan could be made: {why}")
        self._announcer.fault(cause, str(fault), RETRY_S)
        now_s = self._clock.now_s()
        self._occasions.later(now_s, now_s + RETRY_S, "another try after a plan that failed")
        return fault

    def _decide_once(self, cause: str, urgent: bool, limits: Limits, look: Look) -> None:
        factors = self._drift.factors_to_plan()
        proposal = self._planner.propose(limits, factors, urgent=urgent, from_s=look.at_s)
        # What was planned for is noted even when the routes stay, or the same drift would ask again every tick.
        self._drift.planned(factors, proposal.at_s)
        self._occasions.decided(limits)
        if proposal.decision.change:
            plan = self._loadable(proposal, look.free_bytes)
            if plan is not proposal.plan:
                self._stage(proposal, plan, cause, urgent, look)
                return
            self._change(proposal, cause, look)
            return
        log.debug("plan_kept", cause=cause, reason=proposal.decision.reason)
        self._announcer.note(cause, proposal.plan.note)
        self._announcer.kept(cause, proposal, look.took_ms)
        self._keep(proposal)

    def _loadable(self, proposal: Proposal, free_bytes: int | None) -> Plan:
        """The wanted plan, or as much of it as there is memory to load."""
        planner, wanted = self._planner, proposal.plan
        if free_bytes is None:
            return wanted
        absent = {
            app.app_id: frozenset(
                form.digest for form in self._switcher.absent(replace(wanted, apps=(app,)), planner.catalogue)
            )
            for app in wanted.apps
        }
        # Others have to move whatever it takes: what they run is broken, or gone.
        stays = {o.app.app_id for o in proposal.problem.apps if o.running is not None and offers(o, o.running)}
        return affordable(proposal.running, wanted, absent, stays, free_bytes, planner.catalogue.size_bytes)

    def _stage(self, proposal: Proposal, plan: Plan, cause: str, urgent: bool, look: Look) -> None:
        """Put a part of a plan in place, which may be nothing of it, and have the rest asked for again."""
        planner, size_bytes = self._planner, self._planner.catalogue.size_bytes
        live_bytes = self._switcher.live_bytes(size_bytes)
        has_warm = self._switcher.resident_bytes(size_bytes) > live_bytes
        # What is only kept warm makes way for what is wanted.
        self._switcher.tidy(live_bytes, size_bytes)
        moves = bool(difference(planner.plan, plan))
        free_mb = (look.free_bytes or 0) / 1e6
        held = f"loading all of it takes more memory for a moment than the {free_mb:.1f} MB that are free"
        # What the apps that move leave is free when their requests have ended: at the next look, as a rule.
        due_s = proposal.at_s if moves or has_warm else proposal.at_s + RETRY_S
        self._occasions.later(proposal.at_s, due_s, "there was no memory to load all of the last plan", urgent=urgent)
        log.info("plan_in_stages", free_mb=round(free_mb, 1), moves=moves)
        routes = {app.app_id: app.route for app in plan.apps}
        number = proposal.plan.number if moves else planner.plan.number
        part = replace(
            predict(proposal.problem, routes, number),
            status="unproven",
            gap=None,
            solve_ms=proposal.plan.solve_ms,
            note=f"{held}; the rest follows",
        )
        if moves:
            self._change(replace(proposal, plan=part), cause, look)
            return
        self._announcer.kept(cause, replace(proposal, decision=Verdict(False, held)), look.took_ms)
        planner.plan = part
        if urgent:
            said = f"{cause}: nothing changes yet: {held}"
            self.decision = Decision(cause, said, 0.0, proposal.at_s, part, look.took_ms)

    def _keep(self, proposal: Proposal) -> None:
        planner = self._planner
        if difference(planner.plan, proposal.plan):
            # Later the same problem has the same answer, so it is worth another try only where the plan was young.
            due_s = planner.changed_at_s + planner.settings.damping.min_dwell_s
            if due_s > proposal.at_s:
                self._occasions.later(proposal.at_s, due_s, "a change held back against flapping is due")
            return
        # The same routes, as they are predicted now; the profile may want them with other threads.
        same = replace(proposal.plan, number=planner.plan.number)
        self._apply(same, (), proposal.problem.limits)
        planner.plan = same

    def _change(self, proposal: Proposal, cause: str, look: Look) -> None:
        planner, plan = self._planner, proposal.plan
        changes = difference(planner.plan, plan)
        self._apply(plan, changes, proposal.problem.limits)
        applied_s = self._clock.now_s()
        planner.adopt(plan, applied_s)
        apply_ms = (applied_s - proposal.at_s) * 1e3
        self.applied_ms.add(apply_ms)
        said = sentence(proposal.running, plan, cause, planner.stranded)
        self.decision = Decision(cause, said, apply_ms, applied_s, plan, look.took_ms)
        self.tally.changed(changes)
        body = plan_map(plan, self.decision, planner.catalogue, self._registry.all(), applied_s)
        self._announcer.plan(plan, self.decision, body, changes)

    def _apply(self, plan: Plan, changes: Sequence[RouteChange], limits: Limits) -> None:
        planner, live = self._planner, {app.spec.app_id: app for app in self._registry.all()}
        self._switcher.apply(plan, changes, live, planner.room_bytes(limits), planner.catalogue)
