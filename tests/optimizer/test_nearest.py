"""The least budget that is met: no smaller one is, and it is itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.nearest import nearest_budget_ms
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from tests.optimizer.problems import ROOMY, app_options, graded, option, policy_option, two_apps, with_budgets

HIGHS = Highs(10.0)


def misses(problem: Problem, **budgets_ms: float) -> bool:
    (app_id,) = budgets_ms
    app = solve(with_budgets(problem, **budgets_ms), HIGHS, 1).app(app_id)
    assert app is not None
    return app.miss_ms > 0


def test_alone_it_is_the_fastest_route_with_the_overhead() -> None:
    """Three blocks of 2.4 ms at the 95th percentile and 0.3 ms."""
    problem = Problem((app_options("plates", graded("plates"), budget_ms=1.0),), ROOMY)
    assert nearest_budget_ms(problem, "plates", HIGHS) == 7.5


def test_what_lies_between_two_steps_is_rounded_up() -> None:
    problem = Problem((app_options("gate", ((option("only", 2.01, 0.0),),)),), ROOMY)
    assert nearest_budget_ms(problem, "gate", HIGHS) == 2.4


@pytest.mark.parametrize("door_ms", [9.0, 30.0])
def test_every_smaller_budget_is_missed(door_ms: float) -> None:
    """cam has to wait for door's routes or for one of its blocks."""
    problem = with_budgets(two_apps(), door=door_ms)
    nearest_ms = nearest_budget_ms(problem, "cam", HIGHS)
    assert nearest_ms is not None
    assert not misses(problem, cam=nearest_ms)
    steps = round(nearest_ms * 10)
    assert all(misses(problem, cam=step / 10) for step in range(steps - 25, steps))


def test_apps_of_higher_priority_come_first() -> None:
    """cam keeps its most urgent budget, and door waits for it."""
    problem = with_budgets(two_apps(), cam=10.0, door=1.0)
    nearest_ms = nearest_budget_ms(problem, "door", HIGHS)
    assert nearest_ms is not None
    assert not misses(problem, door=nearest_ms)
    plan = solve(with_budgets(problem, door=nearest_ms), HIGHS, 1)
    assert plan.broken == ()


def test_a_stricter_percentile_needs_more() -> None:
    app = app_options("plates", graded("plates"), budget_ms=1.0)
    strict = replace(app, app=replace(app.app, percentile=99.0))
    usual_ms, strict_ms = (nearest_budget_ms(Problem((a,), ROOMY), "plates", HIGHS) for a in (app, strict))
    assert usual_ms is not None
    assert strict_ms is not None
    assert strict_ms > usual_ms


def test_an_exit_that_caps_the_depth_counts() -> None:
    policies = (policy_option(3, {}), policy_option(3, {}, 0.1, cap=0))
    problem = Problem((app_options("plates", graded("plates"), policies=policies),), ROOMY)
    assert nearest_budget_ms(problem, "plates", HIGHS) == 2.7


def test_on_overloaded_lanes_no_budget_is_met() -> None:
    """Two apps of 3 ms, 200 times a second each, want 1.2 lanes."""
    apps = tuple(
        app_options(name, ((option(name, 3.0, 0.0),),), budget_ms=5.0, rate_hz=200.0, priority=priority)
        for name, priority in (("cam", 9), ("door", 1))
    )
    assert nearest_budget_ms(Problem(apps, ROOMY), "door", HIGHS) is None


def test_an_unknown_app_is_answered_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="there are cam, door"):
        nearest_budget_ms(two_apps(), "nobody", HIGHS)
