"""How many of many values fell between given bounds: what a histogram of a monitoring system is made of."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

LATENCY_MS: Final = (
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    30.0,
    50.0,
    75.0,
    100.0,
    200.0,
    500.0,
    1000.0,
    5000.0,
)
"""Bounds around the budgets of cameras: 200 Hz to one frame in seconds."""
DECISION_MS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Bounds around the time limits of a decision, and what putting it in place takes."""


class Buckets:
    """Counts since it was made, and the sum of the values. One thread adds at a time; anybody may read."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Args: bounds: rising; a value belongs to the first that is not below it."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def up_to(self) -> Iterator[tuple[float, int]]:
        """For each bound, infinity last, how many values did not exceed it."""
        return zip((*self._bounds, math.inf), accumulate(self._counts.copy()), strict=True)
