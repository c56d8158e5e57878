"""The slowdown estimate: up at once, down slowly, never moved by one outlier."""

from __future__ import annotations

import pytest

from schedulerd.control.correction import Correction, CorrectionSettings, corrected, drifted, settled

SETTINGS = CorrectionSettings()


def test_a_quiet_board_stays_at_one() -> None:
    assert corrected(Correction(1.0, 0.0), [0.9] * 50, 1.0, SETTINGS).slowdown == 1.0


def test_a_step_is_followed_at_once() -> None:
    assert corrected(Correction(1.0, 0.0), [2.5] * 15, 0.2, SETTINGS).slowdown == 2.5


def test_a_single_outlier_is_not_followed() -> None:
    assert corrected(Correction(1.0, 0.0), [0.9] * 14 + [30.0], 0.2, SETTINGS).slowdown == 1.0


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


@pytest.mark.parametrize(
    ("planned", "now", "expected"), [(1.0, 1.1, False), (1.0, 1.3, True), (2.0, 1.8, False), (2.0, 1.5, True)]
)
def test_drift_is_a_relative_step(planned: float, now: float, expected: bool) -> None:
    assert drifted(planned, Correction(now, 0.0), SETTINGS) is expected


def test_settled_estimates_come_in_steps() -> None:
    assert settled(Correction(1.234, 0.0)).slowdown == 1.25
    assert settled(Correction(1.01, 0.0)).slowdown == 1.0
