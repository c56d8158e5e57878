"""How much slower than its profile the board runs now: a robust estimate from live timings, pure.

Each answered request gives a ratio: measured time inside its blocks over the profile's sum of their 95th percentiles. A
plan promises a 95th percentile, so the estimate is a high quantile of the recent ratios: above 1 the promise is being
broken, at or below 1 it holds. The ratios are split by age into four groups and the lower median of the groups'
quantiles counts: a burst no longer than a group, such as another program's start, touches two of them at most and is no
reason to plan anew; a load that stays is one as soon as it touches three.

From there the way up is immediate, the way down slow, so that a load that comes and goes does not make routes flap.
Smaller routes often run nearer to their profile than the larger ones that they replace, so a plan can bring about the
very readings that speak against it: each time that a better board was believed in too early, it has to look better for
twice as long before it is believed in again (exponential backoff).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schedulerd.serving.meter import percentile


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """How eagerly live timings are believed."""

    quantile: float = 0.9
    """Of the ratios in a group."""
    groups: int = 4
    """Into which the ratios are split, equal in number."""
    least_samples: int = 10
    """Fewer ratios than this say nothing."""
    ceiling: float = 8.0
    """A board slower than this is not described by scaling any more."""
    half_life_s: float = 2.0
    """The excess over 1 halves in this time once the ratios have fallen."""
    step: float = 0.2
    """Relative change that is worth a new plan."""
    least_wait_s: float = 1.0
    """How long the board must look better before that is believed."""
    most_wait_s: float = 60.0
    regret_s: float = 15.0
    """Belief that is followed by a step up within this time came too early."""


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
    return Correction(min(settings.ceiling, max(1.0, _lasting(ratios, settings), floor)), now_s)


def _lasting(ratios: Sequence[float], settings: CorrectionSettings) -> float:
    """What most of the groups of the ratios exceed one time in ten."""
    edges = [len(ratios) * number // settings.groups for number in range(settings.groups + 1)]
    groups = (ratios[start:end] for start, end in itertools.pairwise(edges))
    return statistics.median_low(percentile(group, settings.quantile) or 1.0 for group in groups)


@dataclass(frozen=True, slots=True)
class Belief:
    """Whether a board that looks better than planned for is believed to be."""

    wait_s: float = 0.0
    """How long it has to look better; `least_wait_s` at least."""
    better_since_s: float | None = None
    believed_at_s: float = -math.inf
    """When a plan for a better board was last made."""


def worse(planned_with: float, now: Correction, settings: CorrectionSettings) -> bool:
    """Whether the board runs slower than the running plan assumed by more than a step: believed at once."""
    return now.slowdown > planned_with * (1.0 + settings.step)


def watched(before: Belief, planned_with: float, now: Correction, settings: CorrectionSettings) -> Belief:
    """The belief after another look at the board."""
    if now.slowdown * (1.0 + settings.step) >= planned_with:
        return replace(before, better_since_s=None)
    return before if before.better_since_s is not None else replace(before, better_since_s=now.at_s)


def better(belief: Belief, now: Correction, settings: CorrectionSettings) -> bool:
    """Whether the board has looked better for long enough."""
    since_s = belief.better_since_s
    return since_s is not None and now.at_s - since_s >= max(settings.least_wait_s, belief.wait_s)


def replanned(
    before: Belief, planned_with: float, slowdown: float, now_s: float, settings: CorrectionSettings
) -> Belief:
    """The belief after a plan for `slowdown` took the place of one for `planned_with`."""
    if slowdown < planned_with:
        return replace(before, better_since_s=None, believed_at_s=now_s)
    if slowdown == planned_with:
        return before
    too_early = now_s - before.believed_at_s < settings.regret_s
    wait_s = 2.0 * max(settings.least_wait_s, before.wait_s) if too_early else 0.0
    return Belief(min(wait_s, settings.most_wait_s), None, before.believed_at_s)


def settled(correction: Correction) -> Correction:
    """The same estimate, rounded to steps of 5%, as a problem carries it: equal boards then give equal problems."""
    return replace(correction, slowdown=max(1.0, round(correction.slowdown * 20) / 20))
