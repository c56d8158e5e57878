"""What the control loop tells others: numbered events to listeners, answers to operators, messages to clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from blockprofiles.contention import Slowdown
from blockstore.block import Model
from schedulerd.clock import Clock
from schedulerd.control.factors import promised
from schedulerd.control.limits import LimitsNow
from schedulerd.control.plan_report import Decision
from schedulerd.control.planner import Proposal
from schedulerd.control.snapshot import Snapshot
from schedulerd.plan import AppPlan, Plan, RouteChange, difference
from schedulerd.serving.apps import LiveApp
from schedulerd.wire.codec import encode
from schedulerd.wire.envelope import encode_event
from schedulerd.wire.messages import Answer, Failure, Ping, Registered, TensorHeader

PROBE_S: Final = 1.0
"""How often an app that sends nothing is asked whether it is still there."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outlets:
    """How decisions leave: answers to operators, messages to clients, events to listeners."""

    answer: Callable[[bytes, Sequence[bytes | memoryview]], None]
    reply: Callable[[bytes, Sequence[bytes | memoryview]], None]
    publish: Callable[[Sequence[bytes | memoryview]], None]
    wake: Callable[[], None]


class Announcer:
    """What has been told already, so that nothing is told twice."""

    def __init__(self, outlets: Outlets, clock: Clock) -> None:
        """An announcer that has told nothing yet."""
        self._outlets = outlets
        self._clock = clock
        self._sequence = 0
        """Events published so far: a gap tells a listener that it missed some."""
        self._missed: dict[str, int] = {}
        """By app, the missed deadlines that were told."""
        self._probed_at_s = clock.now_s()
        self._noted = ""
        """The remark on a decision that was told last."""

    def publish(self, kind: str, body: Mapping[str, Any]) -> None:
        """One event for whoever listens."""
        self._sequence += 1
        self._outlets.publish(encode_event(kind, body, seq=self._sequence, at=self._clock.wall_s()))

    def answer(self, identity: bytes, message: Answer | Failure) -> None:
        """To an operator who asked."""
        self._outlets.answer(identity, encode(message))

    def reply(self, app: LiveApp, message: Registered | Failure) -> None:
        """To a client that wants to register."""
        self._outlets.reply(app.identity, encode(message))

    def flush(self) -> None:
        """What was said goes out, though the gateway may be waiting for messages."""
        self._outlets.wake()

    def plan(self, plan: Plan, decision: Decision, body: Mapping[str, Any], changes: Sequence[RouteChange]) -> None:
        """A plan is in place; `body`: as an operator sees it."""
        self._noted = plan.note
        self.publish("plan", {**body, "changes": _changed(changes)})
        log.info(
            "plan",
            number=plan.number,
            cause=decision.cause,
            did=decision.sentence,
            status=plan.status,
            **({"note": plan.note} if plan.note else {}),
            look_ms=round(decision.look_ms, 2),
            solve_ms=round(plan.solve_ms, 2),
            apply_ms=round(decision.apply_ms, 2),
        )

    def kept(self, cause: str, proposal: Proposal, look_ms: float) -> None:
        """There was a reason to plan anew, and the routes stay as they are."""
        found = difference(proposal.running, proposal.plan)
        self.publish(
            "kept",
            {
                "number": proposal.running.number,
                "cause": cause,
                "reason": proposal.decision.reason,
                "look_ms": look_ms,
                "solve_ms": proposal.plan.solve_ms,
                "refused": _changed(found),
            },
        )

    def fault(self, cause: str, reason: str, retry_s: float) -> None:
        """No plan could be made or put in place; every app keeps its route."""
        self.publish("fault", {"what": "plan", "cause": cause, "reason": reason, "retry_s": retry_s})

    def failed(self, cause: str, reason: str, banned_s: float | None) -> None:
        """A blob failed as it ran, and is left out of plans for so long, or not at all."""
        self.publish("fault", {"what": "variant", "cause": cause, "reason": reason, "retry_s": banned_s})
        log.error("variant_failed", cause=cause, reason=reason, left_out_s=banned_s)

    def stranded(self, app_id: str, reason: str) -> None:
        """Nothing is left that could be run for an app: its requests are answered with the reason."""
        self.publish(
            "fault", {"what": "app", "cause": f"nothing can be run for {app_id}", "reason": reason, "retry_s": None}
        )

    def note(self, cause: str, note: str) -> None:
        """A plan was found that changes no route; where there is a remark on it that has not been told, it is now."""
        if note and note != self._noted:
            self.publish("fault", {"what": "note", "cause": cause, "reason": note, "retry_s": None})
            log.warning("decided_with_remark", cause=cause, note=note)
        self._noted = note

    def pressure(self, causes: Sequence[str], board: Slowdown, snapshot: Snapshot, now: LimitsNow) -> None:
        """The board gives reasons to plan anew, or none any more."""
        stall = snapshot.pressure.memory if snapshot.pressure is not None else None
        self.publish(
            "pressure",
            {
                "causes": list(causes),
                "slowdown": board.median,
                "slowdown_p95": promised(board.p95),
                "cpu_others": snapshot.cpu_others,
                "memory_limit_bytes": now.limits.memory_bytes,
                "utilisation_limit": now.limits.utilisation_cap,
                "power_limit_w": now.limits.power_cap_w,
                "limit_reasons": dict(now.reasons),
                "memory_stall": None if stall is None else stall.some,
                "hottest_c": max((zone.celsius for zone in snapshot.zones or ()), default=None),
            },
        )

    def misses(self, apps: Sequence[LiveApp]) -> None:
        """One event per app for the deadlines that it missed since the last call."""
        for app in apps:
            name, missed = app.spec.app_id, app.meter.missed
            if missed > self._missed.get(name, 0):
                more = missed - self._missed.get(name, 0)
                self.publish("miss", {"app": name, "missed": more, "missed_in_all": missed})
            self._missed[name] = missed

    def probe(self, apps: Sequence[LiveApp]) -> None:
        """A client that died without a word is found by a message that cannot be delivered."""
        now_s = self._clock.now_s()
        if 0.0 <= now_s - self._probed_at_s < PROBE_S:
            return
        self._probed_at_s = now_s
        for app in apps:
            if not app.meter.since(now_s - PROBE_S):
                self._outlets.reply(app.identity, encode(Ping(0)))

    def left(self, app: LiveApp, reason: str) -> None:
        """An app has left; one that comes back under its name begins at none missed."""
        spec = app.spec
        self._missed.pop(spec.app_id, None)
        self.publish("app", {"app": spec.app_id, "model": spec.model, "change": "left", "reason": reason})


def _changed(changes: Sequence[RouteChange]) -> list[dict[str, Any]]:
    """What differs between two plans; an app that joins has no variants before, one that leaves none after."""
    return [
        {
            "app": change.app_id,
            "swapped_blocks": change.swapped_blocks,
            "before": list(change.old.variants) if change.old else None,
            "after": list(change.new.variants) if change.new else None,
        }
        for change in changes
    ]


def registered(message_id: int, app: LiveApp, planned: AppPlan, plan: int, model: Model) -> Registered:
    """What an app is told that has its first route: what it may send, and what it can expect."""
    return Registered(
        id=message_id,
        app=app.spec.app_id,
        model=model.name,
        input=TensorHeader(app.input.dtype, app.input.shape),
        output=TensorHeader(app.output.dtype, app.output.shape),
        labels=model.labels,
        route=planned.route.variants,
        accuracy=planned.accuracy,
        latency_ms=planned.latency_ms,
        latency_p95_ms=planned.latency_p95_ms,
        miss_ms=planned.miss_ms,
        plan=plan,
        outputs=tuple(TensorHeader(output.dtype, output.shape) for output in app.outputs),
        policy=dict(planned.route.policy.steps),
        exit_shares=planned.shares_by_exit(),
        exits=tuple(e.name for e in model.exits),
        credit=app.credit,
    )
