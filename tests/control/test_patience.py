"""How long nothing is given back of what was taken."""

from __future__ import annotations

from dataclasses import replace

from schedulerd.control.patience import Patience, PatienceSettings, given, is_over, not_ahead, taken

SETTINGS = PatienceSettings(least_s=10.0, most_s=50.0, regret_s=30.0)
YEAR_S = 365 * 86400.0


def test_what_was_taken_is_given_back_after_the_least_wait_and_then_more_after_another() -> None:
    known = taken(Patience(), 100.0, SETTINGS)
    assert not is_over(known, 109.9)
    assert is_over(known, 110.0)
    known = given(known, 110.0)
    assert not is_over(known, 119.9)
    assert is_over(known, 120.0)


def test_trouble_soon_after_something_was_given_doubles_the_wait_up_to_the_most() -> None:
    known, waits, now_s = taken(Patience(), 0.0, SETTINGS), [], 0.0
    for _ in range(4):
        now_s += known.wait_s
        known = taken(given(known, now_s), now_s + 1.0, SETTINGS)
        waits.append(known.wait_s)
    assert waits == [20.0, 40.0, 50.0, 50.0]


def test_trouble_in_several_steps_is_one_regret() -> None:
    known = given(taken(Patience(), 0.0, SETTINGS), 10.0)
    for at_s in (11.0, 12.0, 13.0):
        known = taken(known, at_s, SETTINGS)
    assert known.wait_s == 20.0


def test_trouble_long_after_halves_the_wait_down_to_the_least() -> None:
    known = Patience(wait_s=40.0, taken_at_s=0.0, given_at_s=50.0)
    assert taken(known, 80.0, SETTINGS).wait_s == 20.0
    assert taken(replace(known, wait_s=15.0), 80.0, SETTINGS).wait_s == 10.0


def test_a_clock_that_was_set_back_lengthens_no_wait() -> None:
    known = not_ahead(given(taken(Patience(), YEAR_S, SETTINGS), YEAR_S + 10.0), 5.0)
    assert is_over(known, 15.0)
    assert not is_over(known, 14.9)
    assert not_ahead(known, 20.0) is known
