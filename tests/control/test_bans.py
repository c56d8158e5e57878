"""For how long a blob is left out that failed: soon back, longer each time, and what is needed is spared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.control.bans import (
    APART_S,
    FIRST_S,
    FIRST_WITHOUT_NUMBERS_S,
    FORGIVEN_S,
    LONGEST_S,
    SPARED_TIMES,
    SPARED_WITHIN_S,
    Standing,
    after_fault,
)


def faults(*at_s: float, no_numbers: bool = False, needed: bool = False) -> Standing:
    standing = Standing()
    for now_s in at_s:
        standing = after_fault(standing, now_s, no_numbers=no_numbers, needed=needed)
    return standing


@pytest.mark.parametrize(("no_numbers", "length_s"), [(False, FIRST_S), (True, FIRST_WITHOUT_NUMBERS_S)])
def test_a_variant_is_left_out_at_once(no_numbers: bool, length_s: float) -> None:
    standing = faults(100.0, no_numbers=no_numbers)
    assert standing.is_out(100.0)
    assert standing.until_s == 100.0 + length_s
    assert not standing.is_out(standing.until_s)


def test_a_request_that_was_under_way_changes_nothing() -> None:
    assert faults(100.0, 101.0, 109.0) == faults(100.0)


def test_each_time_doubles_the_one_before() -> None:
    assert [faults(100.0, 110.0).length_s, faults(100.0, 110.0, 130.0).length_s] == [20.0, 40.0]


def test_no_time_is_longer_than_a_day_however_often_it_fails() -> None:
    standing, now_s = Standing(), 0.0
    for _ in range(40):
        standing = after_fault(standing, now_s, no_numbers=False, needed=False)
        now_s = standing.until_s
    assert standing.length_s == LONGEST_S


def test_what_has_worked_for_as_long_as_it_was_away_is_as_good_as_new() -> None:
    assert faults(100.0, 110.0 + FORGIVEN_S).length_s == 2 * FIRST_S, "not quite ten minutes"
    assert faults(100.0, 110.0 + FORGIVEN_S + 1.0) == faults(711.0)
    long_away = Standing(bans=9, length_s=5000.0, until_s=5000.0)
    assert after_fault(long_away, 9999.0, no_numbers=False, needed=False).bans == 10
    assert after_fault(long_away, 10_001.0, no_numbers=False, needed=False).bans == 1


@pytest.mark.parametrize("no_numbers", [False, True])
def test_what_is_needed_is_spared_twice_and_is_soon_back(no_numbers: bool) -> None:
    once, twice = faults(100.0, needed=True), faults(100.0, 103.0, needed=True)
    assert not once.is_out(100.0)
    assert not twice.is_out(103.0)
    assert SPARED_TIMES == 2
    thrice = faults(100.0, 103.0, 106.0, no_numbers=no_numbers, needed=True)
    assert (thrice.until_s, thrice.forgiven_s) == (106.0 + FIRST_S, ())


def test_faults_that_lie_far_apart_are_never_held_together() -> None:
    apart_s = SPARED_WITHIN_S / 2 + 1
    assert not faults(*(apart_s * n for n in range(20)), needed=True).is_out(apart_s * 19)


def test_requests_that_fail_for_one_reason_count_as_one() -> None:
    together = faults(*(100.0 + APART_S * n / 10 for n in range(10)), needed=True)
    assert together.forgiven_s == (100.0,)


@given(
    steps=st.lists(st.tuples(st.floats(0, 2000), st.booleans(), st.booleans()), max_size=30),
)
def test_nobody_is_away_for_ever_and_needed_ones_never_at_once(steps: list[tuple[float, bool, bool]]) -> None:
    standing, now_s = Standing(), 0.0
    for wait_s, no_numbers, needed in steps:
        now_s += wait_s
        before = standing
        standing = after_fault(before, now_s, no_numbers=no_numbers, needed=needed)
        assert standing.until_s - now_s <= LONGEST_S
        if not before.is_out(now_s) and standing.is_out(now_s):
            assert not needed or len(before.forgiven_s) == SPARED_TIMES
            assert standing.length_s >= FIRST_S
