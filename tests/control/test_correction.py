"""The slowdown estimate: up at once, down slowly, never moved by one outlier."""

from __future__ import annotations

import pytest

from schedulerd.control.correction import (
    Belief,
    Correction,
    CorrectionSettings,
    better,
    corrected,
    replanned,
    settled,
    watched,
    worse,
)

SETTINGS = CorrectionSettings()


def test_a_quiet_board_stays_at_one() -> None:
    assert corrected(Correction(1.0, 0.0), [0.9] * 50, 1.0, SETTINGS).slowdown == 1.0


def test_a_step_is_followed_at_once() -> None:
    assert corrected(Correction(1.0, 0.0), [2.5] * 15, 0.2, SETTINGS).slowdown == 2.5


def test_a_single_outlier_is_not_followed() -> None:
    assert corrected(Correction(1.0, 0.0), [0.9] * 14 + [30.0], 0.2, SETTINGS).slowdown == 1.0


@pytest.mark.parametrize("seen", [10, 15, 25, 35, 60, 200])
def test_a_burst_of_a_quarter_of_the_window_is_not_a_load_wherever_it_lies(seen: int) -> None:
    long = seen // SETTINGS.groups
    for start in range(seen - long + 1):
        ratios = [0.9] * start + [2.0] * long + [0.9] * (seen - long - start)
        assert corrected(Correction(1.0, 0.0), ratios, 0.2, SETTINGS).slowdown == 1.0


@pytest.mark.parametrize("seen", [10, 15, 25, 35, 60, 200])
def test_a_load_that_has_filled_three_quarters_of_the_window_is_followed(seen: int) -> None:
    slow = -(-3 * seen // SETTINGS.groups)
    ratios = [0.9] * (seen - slow) + [2.0] * slow
    assert corrected(Correction(1.0, 0.0), ratios, 0.2, SETTINGS).slowdown == 2.0


def test_a_load_that_slows_some_of_the_requests_is_followed() -> None:
    """Of every five requests one shares its core with the hog."""
    assert corrected(Correction(1.0, 0.0), [0.9, 0.9, 1.9, 0.9, 0.9] * 12, 0.2, SETTINGS).slowdown == 1.9


def test_few_samples_say_nothing() -> None:
    assert corrected(Correction(1.0, 0.0), [5.0] * 3, 0.2, SETTINGS).slowdown == 1.0


def test_the_way_down_is_slow() -> None:
    after = corrected(Correction(3.0, 0.0), [0.9] * 50, SETTINGS.half_life_s, SETTINGS)
    assert after.slowdown == pytest.approx(2.0)


def test_no_samples_decay_towards_one() -> None:
    assert corrected(Correction(3.0, 0.0), [], 20 * SETTINGS.half_life_s, SETTINGS).slowdown == pytest.approx(
        1, abs=1e-4
    )


def test_the_estimate_has_a_ceiling() -> None:
    assert corrected(Correction(1.0, 0.0), [1e6] * 20, 0.2, SETTINGS).slowdown == SETTINGS.ceiling


@pytest.mark.parametrize(("planned", "now", "expected"), [(1.0, 1.1, False), (1.0, 1.3, True), (2.0, 1.5, False)])
def test_a_step_up_is_believed_at_once(planned: float, now: float, expected: bool) -> None:
    assert worse(planned, Correction(now, 0.0), SETTINGS) is expected


def looked(belief: Belief, planned: float, slowdown: float, *at_s: float) -> Belief:
    for second in at_s:
        belief = watched(belief, planned, Correction(slowdown, second), SETTINGS)
    return belief


@pytest.mark.parametrize(("slowdown", "until_s", "expected"), [(1.5, 0.9, False), (1.5, 1.0, True), (1.8, 9.0, False)])
def test_a_better_board_is_believed_after_a_while(slowdown: float, until_s: float, expected: bool) -> None:
    belief = looked(Belief(), 2.0, slowdown, 0.0, until_s)
    assert better(belief, Correction(slowdown, until_s), SETTINGS) is expected


def test_a_look_at_a_loaded_board_begins_the_wait_anew() -> None:
    belief = looked(looked(looked(Belief(), 2.0, 1.5, 0.0), 2.0, 2.0, 0.5), 2.0, 1.5, 0.9, 1.2)
    assert not better(belief, Correction(1.5, 1.2), SETTINGS)


def test_each_belief_that_came_too_early_doubles_the_wait() -> None:
    belief, waits = Belief(), []
    for second in range(0, 70, 10):
        belief = replanned(belief, 1.5, 1.25, second, SETTINGS)
        belief = replanned(belief, 1.25, 1.5, second + 2.0, SETTINGS)
        waits.append(belief.wait_s)
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_step_up_long_after_the_last_belief_forgives() -> None:
    belief = replanned(Belief(wait_s=32.0, believed_at_s=0.0), 1.25, 1.5, SETTINGS.regret_s, SETTINGS)
    assert belief.wait_s == 0.0


def test_settled_estimates_come_in_steps() -> None:
    assert settled(Correction(1.234, 0.0)).slowdown == 1.25
    assert settled(Correction(1.01, 0.0)).slowdown == 1.0
