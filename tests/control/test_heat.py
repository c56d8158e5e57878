"""Plans for less before the clocks fall, and what is given back late."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from schedulerd.control.heat import Heat, HeatSeen, HeatSettings, Throttled, ZoneSeen, heated

SETTINGS = HeatSettings()
COOL = Heat()
ZONE = ZoneSeen("cpu", celsius=60.0, slope_per_s=0.0, trip_c=85.0, coolest_c=40.0)
SEEN = HeatSeen(at_s=100.0, zones=(ZONE,), used=0.6, used_w=3.0)
FREED_S = 1000.0


def after(*looks: HeatSeen, before: Heat = COOL) -> Heat:
    state = before
    for seen in looks:
        state = heated(state, seen, SETTINGS)
    return state


def at(celsius: float, slope_per_s: float | None = 0.0, *, at_s: float = 100.0) -> HeatSeen:
    return replace(SEEN, at_s=at_s, zones=(replace(ZONE, celsius=celsius, slope_per_s=slope_per_s),))


def test_a_cool_board_is_left_alone() -> None:
    assert after(SEEN).share is None
    assert after(at(79.9)).share is None
    assert after(at(-20.0, slope_per_s=None)).share is None


def test_a_trend_that_reaches_the_margin_within_the_horizon_is_acted_on_before_it_is_there() -> None:
    """From 65 C, at 0.5 C a second, to 80 C in 30 s: 40 C above the coolest are allowed, and 40 C are expected."""
    assert after(at(64.9, 0.5)).share is None
    state = after(at(70.0, 0.5))
    assert state.utilisation == pytest.approx(0.6 * 40 / 45)
    assert state.power_w == pytest.approx(3.0 * 40 / 45)
    assert state.why == "cpu was at 70 C, rising by 30 C a minute, and its clocks fall at 85 C"


def test_within_the_margin_it_is_hot_though_it_rises_no_further() -> None:
    state = after(at(81.0))
    assert state.utilisation == pytest.approx(0.9 * 0.6), "40 of 41 C can stay; a step is a tenth at least"
    assert state.why == "cpu was at 81 C, and its clocks fall at 85 C"
    assert after(at(81.0, -0.2)).share is None, "it cools by itself"


def test_a_step_halves_at_most_and_the_next_one_waits_until_the_board_has_answered() -> None:
    state = after(at(75.0, 3.0))
    assert state.utilisation == pytest.approx(0.3)
    assert after(at(78.0, 3.0, at_s=104.9), before=state) == state
    assert after(at(78.0, 3.0, at_s=105.0), before=state).utilisation == pytest.approx(0.15)


def test_a_step_is_of_what_is_used_where_that_is_less_than_may_be() -> None:
    state = after(at(75.0, 3.0))
    light = replace(at(78.0, 3.0, at_s=105.0), used=0.2)
    assert after(light, before=state).utilisation == pytest.approx(0.1)


def test_the_apps_keep_a_little_however_hot_it_is() -> None:
    looks = [at(90.0, 1.0, at_s=100.0 + 5.0 * n) for n in range(40)]
    assert after(*looks).utilisation == pytest.approx(SETTINGS.floor)
    idle = [replace(look, used=0.0) for look in looks]
    assert after(*idle).share is None, "who uses nothing heats nothing"


def test_a_zone_as_warm_as_ever_is_reckoned_to_be_able_to_bear_nothing() -> None:
    warm = replace(ZONE, celsius=82.0, coolest_c=82.0)
    assert after(replace(SEEN, zones=(warm,))).utilisation == pytest.approx(0.3)


def test_the_worst_of_several_zones_counts() -> None:
    hot = replace(ZONE, name="gpu", celsius=79.0, slope_per_s=1.0)
    assert after(replace(SEEN, zones=(ZONE, hot))).why.startswith("gpu")


def test_without_zones_or_trip_points_only_a_throttle_counts() -> None:
    bare = replace(SEEN, zones=())
    assert after(bare).share is None
    state = after(replace(bare, throttled=Throttled(0.6, 0.7)))
    assert state.utilisation == pytest.approx(0.42)
    assert state.why == "the clocks fell to 70% for heat"
    state = after(replace(bare, throttled=Throttled(0.6, 1.0)))
    assert state.utilisation == pytest.approx(0.54), "nobody says how low"
    assert state.why == "the clocks fell for heat"


def test_a_throttle_takes_what_the_board_does_for_long_and_no_more_however_long_it_lasts() -> None:
    looks = [replace(SEEN, zones=(), at_s=100.0 + n, throttled=Throttled(0.6, 0.7)) for n in range(600)]
    state = after(*looks)
    assert state.utilisation == pytest.approx(0.42)
    lower = replace(looks[-1], at_s=701.0, throttled=Throttled(0.6, 0.6))
    assert after(lower, before=state).utilisation == pytest.approx(0.36), "until the clocks fall further"


def test_a_throttle_on_a_hot_board_goes_on_by_the_heat() -> None:
    looks = [replace(at(84.0, at_s=100.0 + 5.0 * n), throttled=Throttled(0.6, 0.7)) for n in range(3)]
    assert after(*looks).utilisation == pytest.approx(0.42 * 0.9**2)


def test_what_was_sustained_when_the_clocks_fell_is_reached_in_one_step_the_next_time() -> None:
    known = replace(at(70.0, 0.5), sustained=0.4)
    state = after(known)
    assert state.utilisation == pytest.approx(0.4)
    later = replace(known, at_s=105.0)
    assert after(later, before=state).utilisation == pytest.approx(0.4 * 40 / 45), "from there by the trend"
    assert after(replace(SEEN, sustained=0.4)).share is None, "and not on a cool board"


def test_power_that_is_not_known_is_not_limited() -> None:
    state = after(replace(at(75.0, 3.0), used_w=None))
    assert state.utilisation == pytest.approx(0.3)
    assert state.power_w is None


def until_free(state: Heat, celsius: float, *, from_s: float = 100.0) -> list[tuple[float, float | None]]:
    """What may be used while it stays as warm as this, each with the seconds after which it came."""
    found = []
    for second in range(1, 2001):
        before, state = state, after(at(celsius, at_s=from_s + second), before=state)
        if state.utilisation != before.utilisation:
            found.append((float(second), state.utilisation))
    return found


def test_it_is_given_back_by_a_quarter_a_minute_once_it_is_well_below() -> None:
    state = after(at(75.0, 3.0))
    assert until_free(state, 70.0) == [(60.0, pytest.approx(0.45)), (120.0, None)]
    assert until_free(state, 76.0) == [], "so near, it would be hot again at once"


@pytest.mark.parametrize("margin_c", [0.0, 5.0, 20.0])
def test_it_is_given_back_five_degrees_below_whatever_the_margin_is(margin_c: float) -> None:
    settings, hot_c = HeatSettings(margin_c=margin_c), 85.0 - margin_c
    hot = heated(COOL, at(hot_c + 1.0), settings)
    assert hot.share is not None
    warm, cool = at(hot_c - 4.0, at_s=300.0), at(hot_c - 6.0, at_s=300.0)
    assert heated(hot, warm, settings).share == hot.share
    assert heated(hot, cool, settings).share != hot.share


def test_a_board_that_gets_hot_again_waits_longer_each_time() -> None:
    state, waits, at_s = after(at(81.0)), [], 100.0
    for _ in range(5):
        freed_s, allowed = until_free(state, 70.0, from_s=at_s)[0]
        assert allowed is None
        waits.append(freed_s)
        freed = after(at(70.0, at_s=at_s + freed_s), before=state)
        at_s += freed_s + 10.0
        state = after(at(81.0, at_s=at_s), before=freed)
    assert waits == [60.0, 120.0, 240.0, 480.0, 600.0]


@pytest.mark.parametrize("jump_s", [400 * 86400.0, -400 * 86400.0])
def test_a_clock_that_jumps_freezes_nothing(jump_s: float) -> None:
    now_s = 2e9
    state = after(at(75.0, 3.0, at_s=now_s))
    jumped_s = now_s + jump_s
    hot = after(at(78.0, 3.0, at_s=jumped_s), at(78.0, 3.0, at_s=jumped_s + 5.0), before=state)
    assert hot.utilisation is not None
    assert hot.utilisation <= 0.15 + 1e-9
    # Back to now_s + jump: the wait starts at the jump at the latest.
    assert until_free(state, 70.0, from_s=jumped_s)[-1][1] is None


def board(seconds: int, sustained: float, *, limited: bool) -> float:
    """The hottest that a board with one resistance and one capacity gets: it bears `sustained` of its lanes at 85 C."""
    celsius, resistance, constant_s, state, hottest = 40.0, 45.0 / sustained, 90.0, COOL, 40.0
    before = celsius
    for second in range(seconds):
        used = min(0.8, (state.utilisation or 0.8) if limited else 0.8)
        celsius += (40.0 + resistance * used - celsius) / constant_s
        seen = replace(at(celsius, celsius - before, at_s=float(second)), used=used)
        state, before, hottest = after(seen, before=state), celsius, max(hottest, celsius)
    return hottest


@pytest.mark.parametrize("sustained", [0.3, 0.5, 0.7])
def test_a_board_that_cannot_sustain_what_it_is_asked_for_stays_below_its_trip_point(sustained: float) -> None:
    assert board(1200, sustained, limited=False) > 85.0
    assert board(1200, sustained, limited=True) < 85.0


def test_a_board_that_can_sustain_it_is_not_limited_in_the_end() -> None:
    assert board(1200, 1.2, limited=True) == pytest.approx(board(1200, 1.2, limited=False), abs=0.5)
    assert math.isclose(board(1200, 1.2, limited=False), 70.0, abs_tol=0.5)
