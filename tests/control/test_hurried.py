"""A solver gets no more time than is left for the decision."""

from __future__ import annotations

import pytest

from schedulerd.control.hurried import LEAST_S, Hurried
from schedulerd.optimizer.solvers import make_solver
from tests.fakes import FakeClock


@pytest.mark.parametrize(("passed_s", "left_s"), [(0.0, 0.5), (0.8, 0.2), (2.0, LEAST_S)])
def test_it_has_what_is_left_and_no_more_than_it_had(passed_s: float, left_s: float) -> None:
    clock = FakeClock(100.0)
    hurried = Hurried(make_solver("highs", 0.5), 101.0, clock)
    clock.advance(passed_s)
    assert hurried.time_limit_s == pytest.approx(left_s)


def test_without_a_limit_it_is_the_solver_s_own() -> None:
    assert Hurried(make_solver("highs", 0.5), float("inf"), FakeClock()).time_limit_s == 0.5
