"""The estimate of the board: steps are followed, bursts and outliers are not, and the prior stands in for both."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from blockprofiles.contention import Slowdown
from schedulerd.control.correction import (
    Correction,
    CorrectionSettings,
    Sample,
    corrected,
    remembered,
    settled,
)

SETTINGS = CorrectionSettings()
QUIET = Slowdown()
HOGS = Slowdown(1.5, 2.0)


def board_after(
    ratios: Sequence[float], before: Slowdown = QUIET, *, elapsed_s: float = 0.2, prior: Slowdown = QUIET
) -> Slowdown:
    """What is estimated of requests of one second, each with these ratios to the typical and to the worst time."""
    samples = [Sample(number / len(ratios), ratio, ratio, prior) for number, ratio in enumerate(ratios, 1)]
    return corrected(Correction(before, 1.0 - elapsed_s), samples, prior, 1.0, SETTINGS).board


def test_a_quiet_board_runs_as_profiled() -> None:
    assert board_after([1.0] * 50) == QUIET


def test_a_step_is_followed_at_once() -> None:
    assert board_after([2.5] * 15) == Slowdown(2.5, 2.5)


def test_a_load_on_nearly_all_requests_is_followed_before_it_has_filled_half_of_the_window() -> None:
    assert board_after([1.0] * 24 + [2.0] * 16) == Slowdown(2.0, 2.0)
    assert board_after([1.0] * 24 + [1.3] * 16).median == 1.0, "too small a step to tell so soon"
    assert board_after([1.0] * 24 + [2.0, 2.0, 2.0, 1.0] * 4).median == 1.0, "a quarter is as before"


def test_frames_that_come_together_are_late_together_by_one_hiccup() -> None:
    """Eight cameras of 3 Hz, whose last frames met one slow moment."""
    quiet = [Sample(tick / 3 + 0.001 * camera, 1.0, 1.0, QUIET) for tick in (1, 2) for camera in range(8)]
    slow = [Sample(0.99 + 0.001 * camera, 2.0, 2.0, QUIET) for camera in range(8)]
    after = corrected(Correction(QUIET, 0.8), [*quiet, *slow], QUIET, 1.0, SETTINGS)
    assert after.board.median == 1.0


def test_a_single_outlier_is_not_followed() -> None:
    assert board_after([1.0] * 14 + [30.0]) == QUIET


@pytest.mark.parametrize("seen", [10, 15, 25, 35, 60, 200])
def test_a_burst_of_a_quarter_of_the_window_is_not_a_load_wherever_it_lies(seen: int) -> None:
    long = seen // SETTINGS.groups
    for start in range(seen - long + 1):
        assert board_after([1.0] * start + [2.0] * long + [1.0] * (seen - long - start)) == QUIET


@pytest.mark.parametrize("seen", [10, 15, 25, 35, 60, 200])
def test_a_load_that_has_filled_three_quarters_of_the_window_is_followed(seen: int) -> None:
    slow = -(-3 * seen // SETTINGS.groups)
    assert board_after([1.0] * (seen - slow) + [2.0] * slow) == Slowdown(2.0, 2.0)


def test_a_load_that_slows_some_of_the_requests_is_in_the_promise_and_not_in_the_typical_time() -> None:
    """Of every five requests one shares its core with the hog."""
    assert board_after([1.0, 1.0, 1.9, 1.0, 1.0] * 12) == Slowdown(1.0, 1.9)


def test_a_profile_that_was_pessimistic_is_corrected_downwards() -> None:
    assert board_after([0.8] * 15, Slowdown(0.8, 0.8)) == Slowdown(0.8, 0.8)


def test_the_typical_time_falls_at_once_and_the_promise_slowly() -> None:
    after = board_after([1.0] * 50, Slowdown(3.0, 3.0), elapsed_s=SETTINGS.half_life_s)
    assert (after.median, after.p95) == (1.0, pytest.approx(2.0))


def test_equal_requests_under_different_priors_need_no_order() -> None:
    samples = [Sample(0.5, 1.0, 1.0, prior) for prior in (HOGS, QUIET)]
    assert remembered(samples, 1.0, SETTINGS) == samples


def test_without_samples_the_board_is_taken_to_be_as_the_prior_says() -> None:
    assert board_after([], prior=HOGS) == HOGS
    after = board_after([], Slowdown(3.0, 3.0), elapsed_s=20 * SETTINGS.half_life_s)
    assert (after.median, after.p95) == (1.0, pytest.approx(1.0, abs=1e-4))


def test_few_samples_say_nothing() -> None:
    assert board_after([5.0] * 3) == QUIET


def test_what_is_measured_wins_over_the_prior() -> None:
    assert board_after([1.1] * 15, prior=HOGS) == Slowdown(1.1, 1.1)


@pytest.mark.parametrize(("ratio", "estimate"), [(1e6, SETTINGS.ceiling), (1e-6, SETTINGS.floor)])
def test_the_estimate_has_a_floor_and_a_ceiling(ratio: float, estimate: float) -> None:
    assert board_after([ratio] * 20, Slowdown(ratio, ratio)).median == estimate


# An app of two frames a second, whose newest ten requests reach five seconds back.


def slow_app(quiet: int, ratios: Sequence[float], prior: Slowdown = HOGS, then: Slowdown = QUIET) -> Slowdown:
    """So many requests under the prior `then`, and some since it is `prior`."""
    samples = [Sample(number / 2, 1.0, 1.0, then) for number in range(quiet)]
    samples += [Sample((quiet + number) / 2, ratio, ratio, prior) for number, ratio in enumerate(ratios)]
    now_s = samples[-1].at_s + 0.1
    return corrected(Correction(QUIET, now_s), remembered(samples, now_s, SETTINGS), prior, now_s, SETTINGS).board


def test_two_slow_requests_bear_out_a_load_that_the_snapshot_shows() -> None:
    assert slow_app(10, [1.6, 1.7]) == Slowdown(1.5, 1.6)


def test_no_more_is_believed_than_was_measured_and_no_more_than_is_expected() -> None:
    assert slow_app(10, [1.3, 1.4]).median == 1.3
    assert slow_app(10, [9.0, 9.0]).median == 1.5


@pytest.mark.parametrize("ratios", [[1.6], [1.6, 1.0], [1.0, 1.6], [1.2, 1.6]])
def test_one_slow_request_bears_out_nothing(ratios: Sequence[float]) -> None:
    assert slow_app(10, ratios).median == 1.0


def test_slow_requests_without_a_load_that_explains_them_have_to_go_on() -> None:
    assert slow_app(10, [1.6, 1.7], prior=QUIET) == QUIET
    assert slow_app(10, [1.6] * 8, prior=QUIET).median == 1.6


def test_a_load_that_was_there_all_along_explains_no_change() -> None:
    assert slow_app(10, [1.6, 1.7], then=HOGS).median == 1.0


def test_two_quick_requests_bear_out_that_a_load_has_gone() -> None:
    samples = [Sample(number / 2, 1.5, 1.5, HOGS) for number in range(10)]
    samples += [Sample(5.0 + number / 2, 1.0, 1.0, QUIET) for number in range(2)]
    after = corrected(Correction(HOGS, 5.6), remembered(samples, 5.6, SETTINGS), QUIET, 5.6, SETTINGS)
    assert after.board.median == 1.0


# What is remembered.


def test_a_window_that_holds_enough_is_all_that_counts() -> None:
    samples = [Sample(number / 20, 1.0, 1.0, QUIET) for number in range(100)]
    assert remembered(samples, 5.0, SETTINGS) == samples[-19:]


def test_of_slow_apps_the_newest_few_count_unless_they_are_old() -> None:
    samples = [Sample(float(second), 1.0, 1.0, QUIET) for second in range(30)]
    assert remembered(samples, 29.5, SETTINGS) == samples[-10:]
    assert remembered(samples, 40.5, SETTINGS) == samples[-4:]
    assert remembered(samples, 3600.0, SETTINGS) == []


def test_samples_of_times_to_come_do_not_count() -> None:
    assert remembered([Sample(99.0, 5.0, 5.0, QUIET)], 10.0, SETTINGS) == []


def test_settled_estimates_come_in_steps() -> None:
    assert settled(Slowdown(1.234, 0.91)) == Slowdown(1.25, 0.9)
