"""When to plan anew although nobody asked: the board has moved away from what was planned for, or a time has come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schedulerd.plan import Plan

ROOM_TO_GROW: Final = 1.1
"""A memory limit that bound the plan must grow by this factor before it alone is a reason to plan anew."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a plan is made. What somebody asked for is urgent and never damped; what the board does is weighed."""

    text: str
    urgent: bool


class Occasions:
    """What the last decision assumed of memory, and when the next one is due."""

    def __init__(self) -> None:
        self._planned_limit_bytes = 0
        """What the last solved problem assumed, whether or not its plan was taken."""
        self._due_s = math.inf
        self._why = ""

    def decided(self, memory_limit_bytes: int) -> None:
        """A problem with this limit was solved; nothing is due any more."""
        self._planned_limit_bytes, self._due_s = memory_limit_bytes, math.inf

    def later(self, at_s: float, why: str) -> None:
        """Plan again at `at_s` although nothing has happened."""
        self._due_s, self._why = at_s, why

    def due(self, now_s: float) -> Iterator[Cause]:
        """What was put off until now."""
        if now_s >= self._due_s:
            yield Cause(self._why, urgent=False)

    def memory(self, plan: Plan, limit_bytes: int) -> Iterator[str]:
        """What has changed about memory since the last decision that concerns the running plan."""
        before = self._planned_limit_bytes
        if limit_bytes != before and plan.memory_bytes > limit_bytes:
            yield f"memory pressure: {(plan.memory_bytes - limit_bytes) / 1e6:.1f} MB over what is available"
        elif "memory" in plan.binding and limit_bytes > ROOM_TO_GROW * before:
            yield "memory is available again"
