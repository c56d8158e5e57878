"""Where a reading is heading, for those who decide.

Pure, from samples `(at_s, value)`. They come when they come: looks are put off by work, and sources are read at
paces of their own. A clock that jumps makes no trend: after a step back, or a leap past all that is kept, the samples
start anew.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

_POINTS = 24
"""Points that a trend is taken over: 276 slopes, sorted in less than 0.1 ms."""
_LEAST_POINTS = 5
"""Of fewer, one wrong reading decides the median slope."""
_LEAST_SHARE = 0.2
"""Of the window that the points have to span: less is noise over a short time."""
_RECENT_SHARE = 0.2
"""Of the window: samples so young say whether a slope goes on."""
_GOES_ON = 0.25
"""Share of a slope that they must have at least."""


class Trend:
    """The line through the last seconds that a few wrong readings do not tilt.

    Its slope is the median of the slopes between all pairs of points: H. Theil, "A rank-invariant method of linear and
    polynomial regression analysis" (1950), and P. K. Sen, "Estimates of the regression coefficient based on Kendall's
    tau" (1968). Up to 29% of the points may be wild.
    """

    def __init__(self, over_s: float) -> None:
        """A line through nothing; `over_s`: how far back its points go."""
        self._over_s = over_s
        self._points: deque[tuple[float, float]] = deque()
        self._slope_per_s: float | None = None
        self._is_fresh = True

    def add(self, at_s: float, value: float) -> None:
        """Take a sample in; the one that was taken in last, seen again, changes nothing."""
        points = self._points
        if points and at_s == points[-1][0]:
            return
        if points and at_s < points[-1][0]:
            points.clear()
        # The newest sample is always a point; it makes way for the next one where it is close to the point before it.
        if len(points) > 1 and points[-1][0] - points[-2][0] < self._over_s / _POINTS:
            points.pop()
        points.append((at_s, value))
        while points[0][0] < at_s - self._over_s:
            points.popleft()
        self._is_fresh = False

    def slope_per_s(self) -> float | None:
        """Change a second; None while there are too few points, or over too short a time, to tell."""
        if not self._is_fresh:
            self._slope_per_s = self._slope()
            self._is_fresh = True
        return self._slope_per_s

    def lasting_slope_per_s(self) -> float | None:
        """The slope where the newest samples go on with it, else 0.

        A step looks like a slope for as long as about half of the points lie before it.
        """
        slope_per_s = self.slope_per_s()
        if not slope_per_s:
            return slope_per_s
        now_s, newest = self._points[-1]
        older = [point for point in self._points if point[0] <= now_s - _RECENT_SHARE * self._over_s]
        at_s, value = older[-1] if older else self._points[0]
        return slope_per_s if (newest - value) / (now_s - at_s) / slope_per_s >= _GOES_ON else 0.0

    def value(self) -> float | None:
        """Where the line is at the newest sample; the newest sample while there is no line, None before the first."""
        if not self._points:
            return None
        slope_per_s, (now_s, newest) = self.slope_per_s(), self._points[-1]
        if slope_per_s is None:
            return newest
        return median(value + slope_per_s * (now_s - at_s) for at_s, value in self._points)

    def _slope(self) -> float | None:
        points = self._points
        if len(points) < _LEAST_POINTS or points[-1][0] - points[0][0] < _LEAST_SHARE * self._over_s:
            return None
        return median((later - value) / (later_s - at_s) for (at_s, value), (later_s, later) in combinations(points, 2))
