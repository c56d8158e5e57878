"""Which limits stand in the way of a better plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import Problem
from tests.optimizer.problems import ROOMY, app_options, graded, option, policy_option, two_apps, with_budgets


def binding(problem: Problem, *picks: tuple[int, ...], policies: tuple[int, ...] | None = None) -> tuple[str, ...]:
    return plan_of(choose(problem, picks, policies)).binding


BEST, WORST = (0, 0, 0), (2, 2, 2)


def test_nothing_binds_where_everybody_has_the_best() -> None:
    assert binding(two_apps(), BEST, BEST) == ()


def test_nothing_binds_that_allows_the_next_better_step() -> None:
    """A plan that could simply be better is held up by nothing."""
    assert binding(two_apps(), WORST, BEST) == ()


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"memory_bytes": 23_500_000}, "memory"),
        ({"utilisation_cap": 0.235}, "utilisation"),
        ({"power_cap_w": 0.475}, "power"),
    ],
)
def test_a_limit_of_all_binds_where_the_next_step_of_one_app_breaks_it(limits: dict[str, float], name: str) -> None:
    """One block of cam is a step from its best, which would take 24 MB, 24% of a lane, or 0.48 W."""
    assert binding(two_apps(**limits), (0, 1, 0), BEST) == (name,)
    assert binding(two_apps(**limits), (0, 2, 0), BEST) == (), "one step is left"


def test_a_budget_binds_whoevers_step_breaks_it() -> None:
    """cam waits for the longest block of door, which may take 3 ms and not 4."""
    problem = with_budgets(two_apps(), cam=13.2 + 0.3 + 3.0)
    assert binding(problem, BEST, (1, 1, 1)) == ("budget:cam",)


def test_what_is_broken_binds_and_comes_in_order() -> None:
    problem = with_budgets(two_apps(utilisation_cap=0.1, memory_bytes=10), cam=5.0)
    assert binding(problem, BEST, BEST) == ("memory", "utilisation", "budget:cam")


def test_a_floor_binds_where_it_keeps_an_app_from_making_room() -> None:
    problem = two_apps(utilisation_cap=0.2)
    door = replace(problem.apps[1], app=replace(problem.apps[1].app, accuracy_floor=0.89))
    floored = replace(problem, apps=(problem.apps[0], door))
    assert binding(floored, (1, 1, 1), (1, 0, 0)) == ("utilisation", "floor:door")
    assert binding(problem, (1, 1, 1), (1, 0, 0)) == ("utilisation",)


def test_a_floor_that_forbids_only_some_steps_does_not_bind() -> None:
    """door may still give up a point, which is one step."""
    problem = two_apps(utilisation_cap=0.2)
    door = replace(problem.apps[1], app=replace(problem.apps[1].app, accuracy_floor=0.88))
    assert binding(replace(problem, apps=(problem.apps[0], door)), (1, 1, 1), (1, 0, 0)) == ("utilisation",)


def test_a_floor_that_had_to_be_lowered_binds() -> None:
    cam = app_options("cam", graded("cam"), floor=0.97)
    assert binding(Problem((cam,), ROOMY), BEST) == ("floor:cam",)


def test_a_policy_that_loses_less_is_a_step_too() -> None:
    policies = (policy_option(2, {}), policy_option(2, {0: 0.5}, 0.01))
    block = (option("only", 4.0, 0.0),)
    cam = app_options("cam", (block, block), policies=policies)
    problem = Problem((cam,), replace(ROOMY, utilisation_cap=0.07))
    assert binding(problem, (0, 0), policies=(1,)) == ("utilisation",)
    assert binding(replace(problem, limits=ROOMY), (0, 0), policies=(1,)) == ()
