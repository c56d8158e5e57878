"""The operator's hand: moves budgets and the memory limit of a live daemon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.scenes.cast import Role
from schedulerd.scenes.script import Budget, Limit
from schedulerd.scenes.words import budget_ms
from schedulerd_client import ControlClient

IMPOSSIBLE: Final = 0.1
"""Share of what a plan takes that no routes fit into: the plan that comes nearest takes the least."""


class Said(NamedTuple):
    """The daemon's answer to an edit."""

    asked_s: float
    plan: int
    sentence: str


class Operator:
    """Remembers what plans took, for a limit that none of them keeps."""

    def __init__(self, control: ControlClient, roles: Mapping[str, Role], clock: Clock) -> None:
        self._control = control
        self._roles = roles
        self._clock = clock
        self._least_used_bytes = math.inf

    def look(self) -> None:
        """Note what the running plan takes."""
        self._least_used_bytes = min(self._least_used_bytes, float(self._control.plan()["memory_bytes"]))

    def edit(self, action: Budget | Limit) -> Said:
        """Carry it out; returns when the new plan is in place."""
        if isinstance(action, Budget):
            asked_s = self._clock.now_s()
            answer = self._control.set_budget(action.app, budget_ms(action, self._roles[action.app]))
        else:
            limit_bytes = self._limit_bytes(action)
            asked_s = self._clock.now_s()
            answer = self._control.set_limit("memory", limit_bytes)
        return _said(answer, asked_s)

    def _limit_bytes(self, action: Limit) -> int | None:
        if action.squeeze is None:
            return action.memory_bytes
        self.look()
        # Routes share activations, and perhaps blobs, so only the daemon can say what the smallest take together.
        nearest = self._control.whatif(memory_bytes=math.ceil(IMPOSSIBLE * self._least_used_bytes))
        least_bytes = float(nearest["after"]["memory_bytes"])
        return math.ceil(squeezed_bytes(self._least_used_bytes, least_bytes, action.squeeze))


def squeezed_bytes(used_bytes: float, least_bytes: float, share: float) -> float:
    """A memory limit under what is used, and over the least that is possible; the two are equal where nothing gives."""
    return used_bytes - share * max(0.0, used_bytes - least_bytes)


def _said(answer: Mapping[str, Any], asked_s: float) -> Said:
    return Said(asked_s, int(answer["plan"]), str(answer["sentence"]))
