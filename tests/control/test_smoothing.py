"""Averages and trends of samples that come when they come."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.control.smoothing import Average, Trend

YEAR_S = 365 * 86400.0


def test_an_average_of_nothing_is_none_and_of_one_sample_that_sample() -> None:
    average = Average(2.0)
    assert average.value() is None
    average.add(1e6, 5.0)
    assert average.value() == 5.0


def test_after_a_time_constant_most_of_a_step_is_in_the_average() -> None:
    average = Average(2.0)
    average.add(0.0, 0.0)
    average.add(2.0, 1.0)
    assert average.value() == pytest.approx(1 - math.exp(-1))


def test_the_average_is_the_same_however_often_a_value_is_sampled() -> None:
    seldom, often = Average(2.0), Average(2.0)
    for average, step_s in ((seldom, 1.0), (often, 0.1)):
        average.add(0.0, 10.0)
        for number in range(1, round(3 / step_s) + 1):
            average.add(number * step_s, 20.0)
    assert seldom.value() == pytest.approx(often.value())


@pytest.mark.parametrize("jump_s", [-YEAR_S, 0.0])
def test_a_clock_that_does_not_advance_weighs_nothing_and_is_followed(jump_s: float) -> None:
    average = Average(2.0)
    average.add(1000.0, 0.0)
    average.add(1000.0 + jump_s, 1.0)
    assert average.value() == 0.0
    average.add(1002.0 + jump_s, 1.0)
    assert average.value() == pytest.approx(1 - math.exp(-1))


def test_after_a_leap_of_a_year_the_newest_sample_is_the_average() -> None:
    average = Average(2.0)
    average.add(0.0, 0.0)
    average.add(YEAR_S, 1.0)
    assert average.value() == 1.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e9, 1e9)), min_size=1))
def test_an_average_is_between_the_least_and_the_most(samples: list[tuple[float, float]]) -> None:
    average = Average(0.5)
    for at_s, value in samples:
        average.add(at_s, value)
    values = [value for _, value in samples]
    found = average.value()
    assert found is not None
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found <= max(values) + slack


def ramp(trend: Trend, begin_s: float, seconds: float, slope_per_s: float, every_s: float = 0.2) -> float:
    """Samples of a rising value; when the last one was made."""
    for number in range(round(seconds / every_s) + 1):
        trend.add(begin_s + number * every_s, 50.0 + slope_per_s * number * every_s)
    return begin_s + seconds


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
