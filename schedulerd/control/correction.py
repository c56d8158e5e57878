"""How the board runs now against its profile: a robust estimate from live timings, pure.

Each answered request gives two ratios: measured time inside its blocks over the profile's sum of medians, and over its
sum of 95th percentiles. A plan shares out lanes by typical times, so one estimate is the median of the recent ratios of
the first kind, which no burst of less than half the window moves. It promises a 95th percentile, so the other is a high
quantile of those of the second: above 1 the promise is being broken. There the ratios are split by age into four groups
and the lower median of the groups' quantiles counts: a burst no longer than a group, such as another program's start,
touches two of them at most and is no reason to plan anew; a load that stays is one as soon as it touches three.

A load that slows nearly all requests by much need not wait for that: of a short time until now, a quarter of the ratios
at most lies near what the whole window says, and from then on they alone count. So a large step is followed in less
than half a second, a small one in most of the window.

The median follows the ratios up and down at once. What is promised goes up at once and down slowly, so that a load that
comes and goes does not make routes flap.

Where nothing has been seen yet, what the profile's contention curves say of the present company stands in (the prior).
Later only its changes count, and only where apps are so slow that the window reaches back to before them: it is
believed as soon as the two newest requests bear it out.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from blockprofiles.contention import Slowdown
from schedulerd.serving.meter import percentile


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """How eagerly live timings are believed."""

    observed_s: float = 1.0
    """Window of live timings: a step is followed within it."""
    remembered_s: float = 15.0
    """Where the window holds too few timings, because apps are slow, the newest of this time count as well."""
    sudden_s: float = 0.4
    """The short time. Three quarters of it are longer than a burst that is no load: a group of the window."""
    sudden: float = 1.35
    """By what all but a quarter of its ratios have to exceed the typical one of the window."""
    sudden_samples: int = 6
    """Fewer ratios than this in the short time say nothing."""
    quantile: float = 0.9
    """Of the ratios in a group, for what is promised."""
    groups: int = 4
    """Into which the ratios are split, equal in number."""
    least_samples: int = 10
    """Fewer ratios than this say nothing."""
    witnesses: int = 2
    """Newest requests that have to bear out what the prior says."""
    floor: float = 0.5
    ceiling: float = 8.0
    """A board quicker or slower than these is not described by scaling any more."""
    half_life_s: float = 2.0
    """What is promised in excess of the ratios halves in this time once they have fallen."""
    step: float = 0.2
    """Relative change of typical times that is worth a new plan."""
    step_p95: float = 0.35
    """The same of what is promised: a high quantile of some twenty requests varies by a quarter on a steady board, and
    each time that such a reading was believed, a better board would have to wait longer to be."""
    least_wait_s: float = 1.0
    """How long the board must look better before that is believed."""
    most_wait_s: float = 60.0
    regret_s: float = 15.0
    """Belief that is followed by a step up within this time came too early."""
    backoff: float = 4.0
    """By what each such belief multiplies the wait for the next one. The first comes soon, because mostly the load has
    gone; beside one that has not, twice the wait made four route changes in as many phases of half a minute."""
    crowded: float = 0.2
    """Share of all cores that other programs take from which on nothing is learnt of single blocks: a lane waits for
    its core in now this one, now that one, and each time routes would change for it."""
    gone_s: float = 3.0
    """Once they have taken less for so long, they have gone, and what was believed too early beside them says nothing
    any more."""


class Sample(NamedTuple):
    """One answered request."""

    at_s: float
    median: float
    """Measured over the profile's sum of medians."""
    p95: float
    """Measured over the profile's sum of 95th percentiles."""
    prior: Slowdown
    """What was expected of the board's company then."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The estimate at `at_s`."""

    board: Slowdown = Slowdown()  # noqa: RUF009 - frozen, so sharing the default is safe
    at_s: float = 0.0
    live: bool = False
    """Whether it is by live timings; else it is the prior."""


def remembered(samples: Sequence[Sample], now_s: float, settings: CorrectionSettings) -> list[Sample]:
    """What `corrected` may still need of these, oldest first: those within the window, or the newest few."""
    known = sorted((s for s in samples if now_s - settings.remembered_s < s.at_s <= now_s), key=attrgetter("at_s"))
    recent = [s for s in known if s.at_s > now_s - settings.observed_s]
    return recent if len(recent) >= settings.least_samples else known[-settings.least_samples :]


def corrected(
    before: Correction, samples: Sequence[Sample], prior: Slowdown, now_s: float, settings: CorrectionSettings
) -> Correction:
    """The estimate after seeing what is `remembered` of the samples, while `prior` is expected of the company."""
    live = len(samples) >= settings.least_samples
    if live:
        thin = samples[0].at_s <= now_s - settings.observed_s
        median, p95 = _estimated(samples, settings)
        newest = [s for s in samples if s.at_s > now_s - settings.sudden_s]
        if _is_sudden(newest, median, settings):
            median, p95 = _estimated(newest, settings)
        if thin:
            median = _sooner(median, [(s.median, s.prior.median) for s in samples], prior.median, settings)
            p95 = _sooner(p95, [(s.p95, s.prior.p95) for s in samples], prior.p95, settings)
    else:
        median, p95 = prior.median, prior.p95
    if p95 < before.board.p95:
        elapsed_s = max(0.0, now_s - before.at_s)
        p95 += (before.board.p95 - p95) * 0.5 ** (elapsed_s / settings.half_life_s)
    return Correction(Slowdown(_clipped(median, settings), _clipped(p95, settings)), now_s, live)


def _estimated(samples: Sequence[Sample], settings: CorrectionSettings) -> tuple[float, float]:
    """What these say of typical times, and of what is promised."""
    return statistics.median(s.median for s in samples), _lasting([s.p95 for s in samples], settings)


def _is_sudden(newest: Sequence[Sample], median: float, settings: CorrectionSettings) -> bool:
    """Whether the newest requests are slower, nearly all of them and by much, than is typical of the whole window."""
    if len(newest) < settings.sudden_samples or newest[-1].at_s - newest[0].at_s < settings.sudden_s / 2:
        return False  # frames of several cameras that come together are late together, by one hiccup
    return (percentile([s.median for s in newest], 0.25) or 0.0) > settings.sudden * median


def _sooner(seen: float, ratios: Sequence[tuple[float, float]], prior: float, settings: CorrectionSettings) -> float:
    """What is `seen` in ratios that reach far back, or what it has become since, if the newest of them bear that out.

    Args: seen; ratios: each with the prior of its time; prior: now; settings.
    """
    changed = seen * prior / statistics.median(then for _, then in ratios)
    witnesses = [ratio for ratio, _ in ratios[-settings.witnesses :]]
    halfway = (seen + changed) / 2
    if min(witnesses) > halfway > seen:
        return min(changed, *witnesses)
    if max(witnesses) < halfway < seen:
        return max(changed, *witnesses)
    return seen


def _lasting(ratios: Sequence[float], settings: CorrectionSettings) -> float:
    """A high quantile that most groups of the ratios reach."""
    edges = [len(ratios) * number // settings.groups for number in range(settings.groups + 1)]
    groups = (ratios[start:end] for start, end in itertools.pairwise(edges))
    return statistics.median_low(percentile(group, settings.quantile) or 1.0 for group in groups)


def _clipped(factor: float, settings: CorrectionSettings) -> float:
    return min(settings.ceiling, max(settings.floor, factor))


def settled(board: Slowdown) -> Slowdown:
    """The same estimate, rounded to steps of 5%, as a problem carries it: equal boards then give equal problems."""
    return Slowdown(round(board.median * 20) / 20, round(board.p95 * 20) / 20)
