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
                    self._planner.leave_out(failed.reasons.keys())
        except LoadTimedOut as late:
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
        staged = self._staged(proposal, look) if proposal.decision.change else proposal
        if staged.decision.change:
            self._change(staged, cause, look)
            return
        log.debug("plan_kept", cause=cause, reason=staged.decision.reason)
        self._announcer.note(cause, proposal.plan.note)
        self._announcer.kept(cause, staged, look.took_ms)
        # A plan that there is no memory to load is asked for again by itself.
        if staged is proposal:
            self._keep(proposal)

    def _staged(self, proposal: Proposal, look: Look) -> Proposal:
        """The same, less what there is no memory to load now; the rest is asked for again."""
        planner, wanted = self._planner, proposal.plan
        if look.free_bytes is None:
            return proposal
        absent = {
            app.app_id: frozenset(
                form.digest for form in self._switcher.absent(replace(wanted, apps=(app,)), planner.catalogue)
            )
            for app in wanted.apps
        }
        plan = affordable(proposal.running, wanted, absent, look.free_bytes, planner.catalogue.size_bytes)
        if plan is wanted:
            return proposal
        free_mb = look.free_bytes / 1e6
        moves = bool(difference(planner.plan, plan))
        # What the apps that move leave is free when their requests have ended: at the next look, as a rule.
        due_s = proposal.at_s if moves else proposal.at_s + RETRY_S
        self._occasions.later(proposal.at_s, due_s, "there was no memory to load all of the last plan")
        log.info("plan_in_stages", free_mb=round(free_mb, 1), moves=moves)
        if moves:
            return replace(proposal, plan=plan)
        held = Verdict(False, f"loading it takes more memory for a moment than the {free_mb:.1f} MB that are free")
        return replace(proposal, decision=held)

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
