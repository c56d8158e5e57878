"""When to plan anew although nobody asked: the board has moved away from what was planned for, or a time has come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schedulerd.control.limits import LimitsNow
from schedulerd.optimizer.problem import Limits
from schedulerd.plan import Plan

ROOM_TO_GROW: Final = 1.1
"""A limit that bound the plan must grow by this factor before it alone is a reason to plan anew."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a plan is made. What somebody asked for is urgent and never damped; what the board does is weighed."""

    text: str
    urgent: bool


class Occasions:
    """What the last decision assumed of the limits, and when the next one is due."""

    def __init__(self) -> None:
        self._planned = Limits(memory_bytes=0, utilisation_cap=0.0)
        """What the last solved problem assumed, whether or not its plan was taken."""
        self._noted_s = -math.inf
        self._due_s = math.inf
        self._why = ""
        self._urgent = False

    def decided(self, limits: Limits) -> None:
        """A problem with these limits was solved; nothing is due any more."""
        self._planned, self._due_s = limits, math.inf

    def later(self, now_s: float, at_s: float, why: str, *, urgent: bool = False) -> None:
        """Plan again at `at_s` although nothing has happened; `urgent`: for somebody who has asked."""
        self._noted_s, self._due_s, self._why, self._urgent = now_s, at_s, why, urgent

    def due(self, now_s: float) -> Iterator[Cause]:
        """What was put off until now. Where the clock was set back, at once: nobody knows how long ago it was."""
        if now_s >= self._due_s or (now_s < self._noted_s and math.isfinite(self._due_s)):
            yield Cause(self._why, self._urgent)

    def limits(self, plan: Plan, now: LimitsNow) -> Iterator[str]:
        """What has changed about the limits since the last decision that concerns the running plan."""
        yield from self._memory(plan, now)
        yield from self._utilisation(plan, now)
        yield from self._power(plan, now)

    def _memory(self, plan: Plan, now: LimitsNow) -> Iterator[str]:
        limit_bytes, before = now.limits.memory_bytes, self._planned.memory_bytes
        if limit_bytes != before and plan.memory_bytes > limit_bytes:
            over_mb = (plan.memory_bytes - limit_bytes) / 1e6
            yield f"memory pressure: {over_mb:.1f} MB over what is available ({now.reasons['memory']})"
        elif "memory" in plan.binding and limit_bytes > ROOM_TO_GROW * before:
            yield "memory is available again"

    def _utilisation(self, plan: Plan, now: LimitsNow) -> Iterator[str]:
        cap, before = now.limits.utilisation_cap, self._planned.utilisation_cap
        if cap < before and plan.utilisation > cap:
            yield f"{plan.utilisation:.0%} of the lanes are used, {cap:.0%} may be ({now.reasons['utilisation']})"
        elif "utilisation" in plan.binding and cap > ROOM_TO_GROW * before:
            yield "the lanes may be used more again"

    def _power(self, plan: Plan, now: LimitsNow) -> Iterator[str]:
        cap_w, before_w = _watts(now.limits), _watts(self._planned)
        # What a plan draws is the optimizer's to say, and lower caps come in steps.
        if cap_w < before_w:
            yield f"{cap_w:.2f} W may be drawn ({now.reasons['power']})"
        elif "power" in plan.binding and cap_w > ROOM_TO_GROW * before_w:
            yield "more power may be drawn again"


def _watts(limits: Limits) -> float:
    return math.inf if limits.power_cap_w is None else limits.power_cap_w
