"""What hardly ever changes (which sensors a board has, its trip points), kept between the looks that need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from schedulerd.clock import Clock

T = TypeVar("T")

LAYOUT_S: Final = 30.0
"""After this time a board may have sensors that it had not: a driver was loaded, a device plugged in."""


class Seldom(Generic[T]):
    """A value that is made again when it is old."""

    def __init__(self, clock: Clock, make: Callable[[], T], every_s: float = LAYOUT_S) -> None:
        """A value that is made by `make` at the first `get`."""
        self._clock = clock
        self._make = make
        self._every_s = every_s
        self._kept: tuple[float, T] | None = None

    def get(self) -> T:
        """The value, at most `every_s` old. Raises what `make` raises; then the next `get` tries again."""
        now_s = self._clock.now_s()
        if self._kept is None or not 0 <= now_s - self._kept[0] < self._every_s:
            self._kept = (now_s, self._make())
        return self._kept[1]
