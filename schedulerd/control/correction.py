"""How much slower than its profile the board runs now: a robust estimate from live timings, pure.

Each answered request gives a ratio: measured time inside its blocks over the profile's sum of their 95th percentiles. A
plan promises a 95th percentile, so the estimate is a high quantile of the recent ratios: above 1 the promise is being
broken, at or below 1 it holds. The way up is immediate, the way down slow, so that a load that comes and goes does not
make routes flap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schedulerd.serving.meter import percentile


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """How eagerly live timings are believed."""

    quantile: float = 0.9
    """Of the ratios in the window; a single outlier among ten or more does not move it."""
    least_samples: int = 10
    """Fewer ratios than this say nothing."""
    ceiling: float = 8.0
    """A board slower than this is not described by scaling any more."""
    half_life_s: float = 2.0
    """The excess over 1 halves in this time once the ratios have fallen."""
    step: float = 0.2
    """Relative change that is worth a new plan."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The estimate at `at_s`: every latency of the profile is multiplied by `slowdown` (at least 1)."""

    slowdown: float = 1.0
    at_s: float = 0.0


def corrected(before: Correction, ratios: Sequence[float], now_s: float, settings: CorrectionSettings) -> Correction:
    """The estimate after seeing the ratios of the recent window (oldest first; an empty window decays)."""
    elapsed_s = max(0.0, now_s - before.at_s)
    floor = 1.0 + (before.slowdown - 1.0) * 0.5 ** (elapsed_s / settings.half_life_s)
    if len(ratios) < settings.least_samples:
        return Correction(floor, now_s)
    seen = percentile(ratios, settings.quantile) or 1.0
    return Correction(min(settings.ceiling, max(1.0, seen, floor)), now_s)


def drifted(planned_with: float, now: Correction, settings: CorrectionSettings) -> bool:
    """Whether the estimate has moved far enough from what the running plan assumed."""
    ratio = now.slowdown / planned_with
    return ratio > 1.0 + settings.step or ratio < 1.0 / (1.0 + settings.step)


def settled(correction: Correction) -> Correction:
    """The same estimate, rounded to steps of 5%, as a problem carries it: equal boards then give equal problems."""
    return replace(correction, slowdown=max(1.0, round(correction.slowdown * 20) / 20))
