"""The contention curves of the profile as an expectation of the present company."""

from __future__ import annotations

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from schedulerd.control.prior import slowdown_by_company

CURVES = Contention(
    lanes=(Point(1.0, Slowdown()), Point(2.0, Slowdown(1.4, 1.6))),
    others=(Point(0.0, Slowdown()), Point(1.0, Slowdown(3.0, 5.0))),
)


def expected(cpu_others: float | None = 0.0, lanes: int = 1, apps: int = 1, utilisation: float = 0.5) -> Slowdown:
    return slowdown_by_company(CURVES, cpu_others, lanes=lanes, apps=apps, utilisation=utilisation)


def test_a_board_to_ourselves_runs_as_profiled() -> None:
    assert expected() == Slowdown()


def test_other_programs_slow_us_down_as_they_did_in_the_profile() -> None:
    assert expected(0.5) == Slowdown(2.0, 3.0)


def test_a_load_that_cannot_be_read_or_was_never_measured_says_nothing() -> None:
    assert expected(None) == Slowdown()
    assert slowdown_by_company(Contention(), 0.5, lanes=2, apps=2, utilisation=0.5) == Slowdown()


def test_a_typical_block_runs_beside_the_lanes_that_are_busy_and_the_worst_beside_all() -> None:
    found = expected(lanes=2, apps=2, utilisation=0.5)
    assert (found.median, found.p95) == (pytest.approx(1.2), 1.6)


def test_an_app_alone_keeps_one_lane_busy() -> None:
    assert expected(lanes=2, apps=1, utilisation=0.9) == Slowdown()


def test_both_kinds_of_company_multiply() -> None:
    assert expected(0.5, lanes=2, apps=3, utilisation=1.3) == Slowdown(pytest.approx(2.8), pytest.approx(4.8))
