"""A solver gets no more time than is left for the decision."""

from __future__ import annotations

import pytest

from schedulerd.control.hurried import LEAST_S, Hurried
from schedulerd.control.sources.base import Readings
from schedulerd.optimizer.solvers import make_solver
from tests.control.stage import Stage
from tests.fakes import FakeClock


@pytest.mark.parametrize(("passed_s", "left_s"), [(0.0, 0.5), (0.8, 0.2), (2.0, LEAST_S)])
def test_it_has_what_is_left_and_no_more_than_it_had(passed_s: float, left_s: float) -> None:
    clock = FakeClock(100.0)
    hurried = Hurried(make_solver("highs", 0.5), 101.0, clock)
    clock.advance(passed_s)
    assert hurried.time_limit_s == pytest.approx(left_s)


def test_without_a_limit_it_is_the_solver_s_own() -> None:
    assert Hurried(make_solver("highs", 0.5), float("inf"), FakeClock()).time_limit_s == 0.5


class Lengthy:
    """A source that takes its time."""

    name, every_s = "lengthy", 0.0

    def __init__(self, clock: FakeClock, takes_s: float) -> None:
        self._clock = clock
        self._takes_s = takes_s

    def read(self) -> Readings:
        self._clock.advance(self._takes_s)
        return {}


@pytest.mark.parametrize(("look_s", "left_s"), [(0.0, 0.5), (0.4, 0.1), (3.0, LEAST_S)])
def test_what_a_look_took_the_solver_of_its_decision_has_less(look_s: float, left_s: float) -> None:
    clock = FakeClock()
    stage = Stage(sources=[Lengthy(clock, look_s)], clock=clock, decide_within_s=0.5)
    stage.join("roomy", budget_ms=20.0)
    stage.join("tight", budget_ms=9.0)
    assert stage.solver.limits_s, "two such apps are no plan without the integer program"
    assert max(stage.solver.limits_s) == pytest.approx(left_s)
    assert {app.app_id for app in stage.loop.plan.apps} == {"roomy", "tight"}
    stage.switcher.close()
