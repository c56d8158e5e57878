"""Plan for less before the board gets so hot that its clocks fall. Pure.

The model is one thermal resistance and one capacity (first-order RC): at constant power P the temperature tends to
`ambient + R * P`, exponentially. For small passively cooled boards that is accurate enough (arXiv:1410.0628), and the
same idea predicts the heat of cores in I. Yeo, C. Liu and E. Kim, "Predictive dynamic thermal management for multicore
systems" (DAC 2008). Two things follow, and neither R nor the capacity has to be known:

- An exponential bends towards its end, so the straight line through the present slope is above it: a board that does
  not reach its trip point on that line, within the horizon, does not reach it at this power. For a board whose time
  constant is the horizon the end of the line is the very temperature that it tends to.
- What a zone rises above its coolest is proportional to the power that heats it. So of the present use of the lanes
  the share `(target - coolest) / (expected - coolest)` can be sustained, where the target lies a margin below the trip.

That share is taken in steps, each when the board has had time to answer, and the use of lanes and the power that were
planned are limited alike. Where the clocks fell all the same, by so much less may be planned at full clocks: the board
shows what it can do for long. It is remembered (`learned_heat`), with the temperature at which it happened: many boards
throttle in firmware, at a temperature that no trip point tells. Times that are longer while the clocks are low
are the drift correction's (`drift_watch`), which sees them by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from schedulerd.control.patience import Patience, PatienceSettings, given, is_over, not_ahead, taken


@dataclass(frozen=True, slots=True)
class HeatSettings:
    """When a board is hot, and how fast plans follow."""

    margin_c: float = 5.0
    """So far below the trip point a zone is to stay."""
    clear_c: float = 5.0
    """So far below that in turn every zone has to be before more is given back."""
    horizon_s: float = 30.0
    """How far ahead a trend is followed."""
    settle_s: float = 5.0
    """After a step it takes so long until the next one can tell what it did."""
    least_step: float = 0.9
    most_step: float = 0.5
    """A step multiplies what is used by something between these two."""
    floor: float = 0.1
    """Share of the lanes that is left to the apps however hot it is: the rest of the board may be what heats it."""
    growth: float = 0.25
    """Share of what was used before it got hot that is given back at once."""
    patience: PatienceSettings = PatienceSettings(least_s=60.0, most_s=600.0, regret_s=180.0)  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class ZoneSeen:
    """One thermal zone at one look."""

    name: str
    celsius: float
    slope_per_s: float | None
    """Degrees a second; None where nobody can tell yet."""
    trip_c: float
    """Where its clocks are known to fall, or said to."""
    coolest_c: float
    """Seen of it since the start."""

    def ahead_c(self, horizon_s: float) -> float:
        """Where it is on the line of its present slope after so long."""
        return self.celsius + horizon_s * (self.slope_per_s or 0.0)


@dataclass(frozen=True, slots=True)
class Throttled:
    """The clocks are held down for heat."""

    used: float
    """Share of the lanes that was used when they fell."""
    clock_share: float
    """The lowest they have been since, of what was asked for; 1 where nobody can say."""


@dataclass(frozen=True, slots=True)
class HeatSeen:
    """One look at the heat."""

    at_s: float
    zones: tuple[ZoneSeen, ...]
    """Those of which a trip point is known."""
    used: float
    """Share of the lanes that the running plan uses."""
    used_w: float | None
    """Power that it draws; None where it is not known of every block."""
    throttled: Throttled | None = None
    """None while nothing is throttled for heat."""
    sustained: float | None = None
    """Share of the lanes that was sustained when the clocks fell, by earlier experience."""


@dataclass(frozen=True, slots=True)
class Heat:
    """The state between two looks."""

    share: float | None = None
    """Of `of` and `of_w`, what may be used; None while nothing is limited."""
    of: float = 0.0
    """Share of the lanes that was used before it got hot."""
    of_w: float | None = None
    why: str = ""
    stepped_at_s: float = -math.inf
    patience: Patience = Patience()  # noqa: RUF009 - frozen, so sharing the default is safe

    @property
    def utilisation(self) -> float | None:
        """Share of the lanes that may be used; None while nothing is limited."""
        return None if self.share is None else self.share * self.of

    @property
    def power_w(self) -> float | None:
        """Power that may be drawn; None while nothing is limited, or it is not known."""
        return None if self.share is None or self.of_w is None else self.share * self.of_w


def heated(before: Heat, seen: HeatSeen, settings: HeatSettings) -> Heat:
    """The state after another look."""
    state = replace(
        before,
        stepped_at_s=min(before.stepped_at_s, seen.at_s),
        patience=not_ahead(before.patience, seen.at_s),
    )
    wanted = _wanted(state, seen, settings)
    if wanted is not None:
        if seen.at_s - state.stepped_at_s < settings.settle_s or seen.used <= settings.floor:
            return state
        return _lowered(state, *wanted, seen, settings)
    may_rise = state.share is not None and seen.throttled is None and not _is_near(seen, settings)
    if may_rise and is_over(state.patience, seen.at_s):
        return _raised(state, seen, settings)
    return state


def _present(state: Heat, seen: HeatSeen) -> float:
    """What a step is taken from: where less is used than may be, a step from what may be would change nothing."""
    return seen.used if state.utilisation is None else min(seen.used, state.utilisation)


def _wanted(state: Heat, seen: HeatSeen, settings: HeatSettings) -> tuple[float, str] | None:
    """The share of the lanes that may be used, and why, where that is less than what is used and may be."""
    present, throttled = _present(state, seen), seen.throttled
    if throttled is not None:
        # The board goes on like this for long; below what it does so, nothing more is needed for its clocks.
        sustained = _stepped(throttled.clock_share, settings) * throttled.used
        if sustained < 0.99 * present:
            return sustained, f"the clocks fell{_how_low(throttled)} for heat"
    hottest = min(seen.zones, key=lambda zone: _sustainable(zone, settings), default=None)
    if hottest is None or (share := _sustainable(hottest, settings)) >= 1.0:
        return None
    if state.share is None and seen.sustained is not None and seen.used > 0:
        # What came of a throttle earlier is known: there in one step.
        share = min(share, seen.sustained / seen.used)
    return _stepped(share, settings) * present, f"{hottest.name} was at {hottest.celsius:.0f} C{_rising(hottest)}"


def _how_low(throttled: Throttled) -> str:
    return f" to {throttled.clock_share:.0%}" if throttled.clock_share < 1.0 else ""


def _sustainable(zone: ZoneSeen, settings: HeatSettings) -> float:
    """Share of the present power at which a zone stays a margin below its trip; 1 or more where it does anyway."""
    expected_c, target_c = zone.ahead_c(settings.horizon_s), zone.trip_c - settings.margin_c
    if expected_c < target_c:
        return 1.0
    risen_c, allowed_c = expected_c - zone.coolest_c, target_c - zone.coolest_c
    return max(0.0, allowed_c / risen_c) if risen_c > 0 else 0.0


def _stepped(share: float, settings: HeatSettings) -> float:
    return min(settings.least_step, max(settings.most_step, share))


def _rising(zone: ZoneSeen) -> str:
    minutely = 60 * (zone.slope_per_s or 0.0)
    rising = f", rising by {minutely:.0f} C a minute" if minutely >= 1 else ""
    return f"{rising}, and its clocks fall at {zone.trip_c:.0f} C"


def _is_near(seen: HeatSeen, settings: HeatSettings) -> bool:
    """Whether a zone is, or will be, close to where it is hot: what is given back heats it again."""
    clear_c = settings.margin_c + settings.clear_c
    return any(max(zone.celsius, zone.ahead_c(settings.horizon_s)) > zone.trip_c - clear_c for zone in seen.zones)


def _lowered(before: Heat, utilisation: float, why: str, seen: HeatSeen, settings: HeatSettings) -> Heat:
    of, of_w = (seen.used, seen.used_w) if before.share is None else (before.of, before.of_w)
    return replace(
        before,
        share=max(settings.floor, utilisation) / of,
        of=of,
        of_w=of_w,
        why=why,
        stepped_at_s=seen.at_s,
        patience=taken(before.patience, seen.at_s, settings.patience),
    )


def _raised(before: Heat, seen: HeatSeen, settings: HeatSettings) -> Heat:
    assert before.share is not None, "there is something to raise"
    share, patience = before.share + settings.growth, given(before.patience, seen.at_s)
    if share >= 1.0:
        return Heat(stepped_at_s=before.stepped_at_s, patience=patience)
    return replace(before, share=share, patience=patience)
