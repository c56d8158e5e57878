"""Trends of samples that come when they come."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.control.smoothing import Trend

YEAR_S = 365 * 86400.0


def ramp(trend: Trend, begin_s: float, seconds: float, slope_per_s: float, every_s: float = 0.2) -> float:
    """Samples of a rising value; when the last one was made."""
    for number in range(round(seconds / every_s) + 1):
        trend.add(begin_s + number * every_s, 50.0 + slope_per_s * number * every_s)
    return begin_s + seconds


@pytest.mark.parametrize("slope_per_s", [-3.0, 3.0])
def test_a_ramp_goes_on(slope_per_s: float) -> None:
    trend = Trend(2.0)
    ramp(trend, 0.0, 3.0, slope_per_s)
    assert trend.lasting_slope_per_s() == trend.slope_per_s() == pytest.approx(slope_per_s)


def test_a_step_does_not_though_it_looks_like_a_slope_for_a_while() -> None:
    trend, slopes, lasting = Trend(2.0), [], []
    for number in range(20):
        trend.add(0.2 * number, 50.0 if number < 8 else 10.0)
        slopes.append(trend.slope_per_s())
        # In the first samples after it nobody can tell.
        lasting.append(trend.lasting_slope_per_s() if number > 9 else 0.0)
    assert min(slope for slope in slopes if slope is not None) < -10.0
    assert set(lasting) == {0.0}


def test_nothing_lasts_of_what_cannot_be_told() -> None:
    assert Trend(2.0).lasting_slope_per_s() is None


def test_a_ramp_has_its_slope_and_its_newest_value() -> None:
    trend = Trend(5.0)
    ramp(trend, 1000.0, 8.0, -3.0)
    assert trend.slope_per_s() == pytest.approx(-3.0)
    assert trend.value() == pytest.approx(50.0 - 8 * 3.0)


def test_without_samples_or_with_few_there_is_no_slope() -> None:
    trend = Trend(5.0)
    assert (trend.slope_per_s(), trend.value()) == (None, None)
    for number in range(4):
        trend.add(number * 1.0, 7.0 * number)
    assert (trend.slope_per_s(), trend.value()) == (None, 21.0), "the newest sample stands in for the line"
    trend.add(4.0, 28.0)
    assert trend.slope_per_s() == pytest.approx(7.0)


def test_samples_over_a_short_time_have_no_slope() -> None:
    trend = Trend(10.0)
    ramp(trend, 0.0, 1.8, 1.0, every_s=0.1)
    assert trend.slope_per_s() is None
    trend.add(2.0, 52.0)
    assert trend.slope_per_s() == pytest.approx(1.0)


def test_wild_readings_tilt_no_line() -> None:
    chance = random.Random(8)  # noqa: S311 - any noise does
    trend = Trend(10.0)
    for number in range(60):
        at_s = 0.2 * number + chance.uniform(0.0, 0.1)
        wild = chance.uniform(-500, 500) if number % 5 == 2 else chance.gauss(0.0, 0.05)
        trend.add(at_s, 40.0 + 0.5 * at_s + wild)
    assert trend.slope_per_s() == pytest.approx(0.5, abs=0.1)
    assert trend.value() == pytest.approx(40.0 + 0.5 * 11.85, abs=0.5)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    trend = Trend(4.0)
    end_s = ramp(trend, 0.0, 10.0, 5.0)
    ramp(trend, end_s, 4.4, 0.0)
    assert trend.slope_per_s() == pytest.approx(0.0)


def test_many_samples_are_thinned_and_the_newest_is_among_them() -> None:
    trend = Trend(4.0)
    end_s = ramp(trend, 0.0, 4.0, 1.0, every_s=0.001)
    assert trend.slope_per_s() == pytest.approx(1.0)
    assert trend.value() == pytest.approx(50.0 + end_s)


def test_the_same_reading_seen_again_is_one_sample() -> None:
    trend = Trend(4.0)
    for at_s in (1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0):
        trend.add(at_s, at_s)
    assert trend.slope_per_s() is None, "four samples are too few"
    trend.add(5.0, 5.0)
    trend.add(5.0, 5.0)
    assert trend.slope_per_s() == pytest.approx(1.0)


@pytest.mark.parametrize("jump_s", [-400 * 86400.0, -1.0, 400 * 86400.0])
def test_a_clock_that_jumps_makes_no_trend_and_the_next_one_is_right(jump_s: float) -> None:
    trend = Trend(4.0)
    end_s = ramp(trend, 1e8, 5.0, 1.0)
    trend.add(end_s + jump_s, 90.0)
    assert (trend.slope_per_s(), trend.value()) == (None, 90.0)
    ramp(trend, end_s + jump_s + 0.2, 4.4, -2.0)
    assert trend.slope_per_s() == pytest.approx(-2.0)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))))
def test_no_order_of_samples_breaks_a_trend(samples: list[tuple[float, float]]) -> None:
    trend = Trend(4.0)
    for at_s, value in samples:
        trend.add(at_s, value)
        trend.slope_per_s()
    assert (trend.value() is None) == (not samples)
