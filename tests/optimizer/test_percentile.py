"""Percentiles of a block's time from its median and 95th."""

from __future__ import annotations

import random
from statistics import quantiles

import pytest

from schedulerd.optimizer.percentile import at_percentile, exponent


def test_what_was_measured_comes_out() -> None:
    assert at_percentile(4.0, 5.0, 50.0) == pytest.approx(4.0)
    assert at_percentile(4.0, 5.0, 95.0) == 5.0
    assert (exponent(50.0), exponent(95.0)) == (pytest.approx(0.0), 1.0)


def test_a_higher_percentile_takes_longer() -> None:
    times_ms = [at_percentile(4.0, 5.0, percentile) for percentile in (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)]
    assert times_ms == sorted(set(times_ms))


def test_a_block_that_always_takes_the_same_does_so_at_every_percentile() -> None:
    assert {at_percentile(4.0, 4.0, percentile) for percentile in (50.0, 90.0, 99.0)} == {4.0}


@pytest.mark.parametrize("percentile", [50.0, 90.0, 95.0, 99.0])
def test_nothing_takes_no_time(percentile: float) -> None:
    assert at_percentile(0.0, 0.0, percentile) == 0.0


def test_times_whose_logarithms_are_normal_are_hit() -> None:
    rng = random.Random(1)  # noqa: S311 - draws test data, not secrets
    cuts = quantiles([rng.lognormvariate(1.0, 0.3) for _ in range(200_000)], n=100)
    assert at_percentile(cuts[49], cuts[94], 99.0) == pytest.approx(cuts[98], rel=0.02)
    assert at_percentile(cuts[49], cuts[94], 75.0) == pytest.approx(cuts[74], rel=0.02)
