"""When to look after clients besides what they send: whether one stands still, and whose connection has ended. Pure."""

from __future__ import annotations

import math
from typing import Final

from schedulerd.serving.stopped import LOOK_EVERY_S

ASK_EVERY_S: Final = 0.03
ASK_FOR_S: Final = 0.1
"""After a ZeroMQ connection has ended: libzmq says so a moment before it lets go of the client's identity."""


class Rounds:
    """What is due when; told the time in monotonic seconds."""

    def __init__(self) -> None:
        self.due_s = -math.inf
        """When to come again; earlier there is nothing to do."""
        self._look_s = -math.inf
        self._ask_s = math.inf
        self._asked_s = -math.inf
        self._lost_s = -math.inf

    def lost(self, now_s: float) -> None:
        """Some connection has ended just now."""
        self._lost_s = now_s
        # However many end, asking costs the same.
        self._ask_s = min(self._ask_s, max(now_s, self._asked_s + ASK_EVERY_S))
        self.due_s = min(self.due_s, self._ask_s)

    def due(self, now_s: float) -> tuple[bool, bool]:
        """Whether to look for clients that stand still, and whether to ask each whether it is there."""
        look, ask = now_s >= self._look_s, now_s >= self._ask_s
        if look:
            self._look_s = now_s + LOOK_EVERY_S
        if ask:
            self._asked_s = now_s
            self._ask_s = now_s + ASK_EVERY_S if now_s < self._lost_s + ASK_FOR_S else math.inf
        self.due_s = min(self._look_s, self._ask_s)
        return look, ask
