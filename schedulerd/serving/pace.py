"""So many things a second, and a few at once after a quiet while: the token bucket. Pure."""

from __future__ import annotations


class Pace:
    """Told the time in monotonic seconds."""

    def __init__(self, a_second: float, at_once: int, now_s: float) -> None:
        """Args: a_second: in the long run; at_once: after a quiet while; now_s."""
        self._a_second = a_second
        self._at_once = at_once
        self._left = float(at_once)
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """How long until the next one; 0 where it may be now."""
        return max(0.0, (1.0 - self._filled(now_s)) / self._a_second)

    def take(self, now_s: float) -> None:
        """One happens."""
        self._left, self._at_s = self._filled(now_s) - 1.0, now_s

    def _filled(self, now_s: float) -> float:
        return min(float(self._at_once), self._left + (now_s - self._at_s) * self._a_second)
