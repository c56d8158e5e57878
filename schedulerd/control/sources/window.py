"""Counters over the last second: a share between two looks 0.2 s apart shows mostly whoever asked for the look."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW_S = 1.0


class Window(Generic[T]):
    """Readings of a counter, as far back as a share is taken over."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, T]] = deque()

    def before(self, now_s: float, reading: T) -> tuple[float, T] | None:
        """The reading to compare this one with, and when it was made; None for the first.

        It is the newest one that is a window old, or else the oldest there is. After a clock that stepped back
        this reading is the first.
        """
        kept = self._readings
        if kept and now_s < kept[-1][0]:
            kept.clear()
        while len(kept) > 1 and kept[1][0] <= now_s - WINDOW_S:
            kept.popleft()
        found = kept[0] if kept else None
        kept.append((now_s, reading))
        return found
