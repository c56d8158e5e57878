"""Counts between bounds, as a histogram wants them."""

from __future__ import annotations

import math

from schedulerd.serving.buckets import DECISION_MS, LATENCY_MS, Buckets


def test_a_value_belongs_to_the_first_bound_that_it_does_not_exceed() -> None:
    buckets = Buckets((1.0, 5.0))
    for value in (0.5, 1.0, 1.001, 5.0, 7.0):
        buckets.add(value)
    assert list(buckets.up_to()) == [(1.0, 2), (5.0, 4), (math.inf, 5)]
    assert buckets.sum == 0.5 + 1.0 + 1.001 + 5.0 + 7.0


def test_nothing_counted_is_zero_everywhere() -> None:
    assert {count for _, count in Buckets(LATENCY_MS).up_to()} == {0}


def test_bounds_rise() -> None:
    for bounds in (LATENCY_MS, DECISION_MS):
        assert list(bounds) == sorted(set(bounds))
