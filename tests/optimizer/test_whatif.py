"""The plan that would follow an edit, beside the one that would follow none."""

from __future__ import annotations

import pytest

from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.optimizer.validate import BadProblem
from schedulerd.optimizer.verdict import judged, verdict
from schedulerd.optimizer.whatif import Comparison, edited, whatif
from schedulerd.plan import EMPTY_PLAN, Plan
from tests.optimizer.problems import ROOMY, app_options, graded, random_problem, two_apps

HIGHS = Highs(10.0)


def planned(problem: Problem) -> Plan:
    return solve(problem, HIGHS, 7)


def compared(
    problem: Problem,
    *,
    budgets_ms: dict[str, float] | None = None,
    memory_bytes: int | None = None,
    added: tuple[AppOptions, ...] = (),
    objective: str | None = None,
) -> Comparison:
    changed = edited(problem, budgets_ms or {}, memory_bytes, added, objective)
    return whatif(problem, changed, planned(problem), HIGHS)


def test_an_edit_of_nothing_is_the_same_problem() -> None:
    problem = two_apps()
    assert edited(problem, {}, None, (), None) == problem
    answer = compared(problem)
    assert answer.edits == ()
    assert [(c.gain, c.relief_ms) for c in answer.apps] == [(0.0, 0.0), (0.0, 0.0)]
    assert answer.sentences == ("cam and door keep their routes",)


def test_a_smaller_budget_is_what_solving_for_it_gives() -> None:
    problem = two_apps()
    changed = edited(problem, {"cam": 14.0}, None, (), None)
    answer = compared(problem, budgets_ms={"cam": 14.0})
    assert answer.edits == ("budget of cam 1000 -> 14 ms",)
    assert answer.before.apps == planned(problem).apps
    after = solve(changed, HIGHS, 8)
    assert (answer.after.apps, answer.after.number) == (after.apps, 8)
    cam, door = answer.apps
    assert (cam.before, cam.after) == (answer.before.apps[0], answer.after.apps[0])
    assert cam.gain < 0
    assert door.gain == 0
    assert answer.sentences[0].startswith("cam moves to ")
    assert answer.nearest_budgets_ms == {}


def test_less_memory_and_another_objective_are_named() -> None:
    answer = compared(two_apps(memory_bytes=30_000_000), memory_bytes=20_000_000, objective="min-energy")
    assert answer.edits == ("memory limit 30.0 MB -> 20.0 MB", "objective max-accuracy -> min-energy")
    assert answer.after.memory_bytes <= 20_000_000


def one_app(budget_ms: float) -> Problem:
    return Problem((app_options("plates", graded("plates"), budget_ms=budget_ms),), ROOMY)


def test_what_a_kept_plan_forgoes_is_no_effect_of_the_edit() -> None:
    """The running plan was made for 9.5 ms, and has been kept although the budget is 12.5 ms: three points are due."""
    problem, running = one_app(12.5), planned(one_app(9.5))
    answer = whatif(problem, edited(problem, {}, 10**9, (), None), running, HIGHS)
    assert answer.before.apps == planned(problem).apps
    assert answer.before.apps != running.apps
    assert [(c.gain, c.relief_ms) for c in answer.apps] == [(0.0, 0.0)]
    assert answer.sentences == ("plates keeps its route",)
    assert answer.held_back == (
        "damping keeps the running plan, though a new decision would gain 3.33 points by max-accuracy: "
        "plates would run something else"
    )


def test_a_running_plan_that_exceeds_more_than_a_new_one_is_told() -> None:
    problem, running = one_app(9.5), planned(one_app(12.5))
    answer = whatif(problem, edited(problem, {}, 10**9, (), None), running, HIGHS)
    assert answer.held_back.startswith(
        "damping keeps the running plan, though a new decision would exceed limits by less"
    )


def test_nothing_is_held_back_where_the_best_plan_runs() -> None:
    assert compared(two_apps(), budgets_ms={"cam": 14.0}).held_back == ""


def test_what_is_proven_of_the_plan_that_is_compared_with_is_told() -> None:
    answer = compared(two_apps(memory_bytes=20_000_000), budgets_ms={"cam": 14.0})
    fresh = planned(two_apps(memory_bytes=20_000_000))
    assert (answer.before.status, answer.before.gap) == (fresh.status, fresh.gap)


@pytest.mark.parametrize("seed", range(12))
def test_a_looser_limit_harms_nothing_and_a_tighter_one_helps_nothing(seed: int) -> None:
    problem = random_problem(seed, tightness=0.5)
    for share, wrong in ((1.2, "worse"), (0.8, "better")):
        other = edited(problem, {}, int(share * problem.limits.memory_bytes), (), None)
        answer = whatif(problem, other, planned(problem), HIGHS)
        # Both under the looser of the two problems, where both may run.
        looser = other if share > 1 else problem
        assert verdict(judged(looser, answer.before, ()), judged(looser, answer.after, ())) != wrong


def test_an_app_that_would_join_stands_beside_nothing() -> None:
    joining = app_options("gate", graded("gate"), budget_ms=50.0)
    answer = compared(two_apps(), added=(joining,))
    assert answer.edits == ("gate joins with 50 ms",)
    gate = answer.apps[-1]
    assert (gate.app_id, gate.before, gate.gain, gate.relief_ms) == ("gate", None, 0.0, 0.0)
    assert gate.after == answer.after.app("gate")
    assert any(said.startswith("gate starts at ") for said in answer.sentences)


def test_a_budget_that_cannot_be_met_comes_with_the_nearest_that_can() -> None:
    answer = compared(two_apps(), budgets_ms={"cam": 5.0})
    nearest_ms = answer.nearest_budgets_ms["cam"]
    assert nearest_ms is not None
    assert answer.sentences[-1] == f"the nearest budget of cam that would be met is {nearest_ms:g} ms"
    assert compared(two_apps(), budgets_ms={"cam": nearest_ms}).nearest_budgets_ms == {}
    assert compared(two_apps(), budgets_ms={"cam": nearest_ms - 0.1}).nearest_budgets_ms == {"cam": nearest_ms}


def test_where_no_budget_can_be_met_it_says_so() -> None:
    busy = app_options("gate", graded("gate", blocks=1), budget_ms=5.0, rate_hz=2000.0)
    answer = compared(two_apps(), added=(busy,))
    assert answer.nearest_budgets_ms == {"gate": None}
    assert answer.sentences[-1] == "no budget of gate would be met: the lanes are overloaded"


def test_the_first_app_of_all() -> None:
    nothing = Problem((), ROOMY)
    added = edited(nothing, {}, None, (app_options("gate", graded("gate")),), None)
    answer = whatif(nothing, added, EMPTY_PLAN, HIGHS)
    assert [c.app_id for c in answer.apps] == ["gate"]


def test_an_added_app_takes_a_budget_too() -> None:
    changed = edited(two_apps(), {"gate": 9.0}, None, (app_options("gate", graded("gate")),), None)
    assert changed.apps[-1].app.budget_ms == 9.0


def test_a_budget_of_an_app_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError, match="no app 'nobody'; there are cam, door"):
        edited(two_apps(), {"nobody": 9.0}, None, (), None)


def test_values_without_sense_are_refused_when_it_is_decided() -> None:
    with pytest.raises(BadProblem, match="budget of cam is -1"):
        compared(two_apps(), budgets_ms={"cam": -1.0})
    with pytest.raises(BadProblem, match="two apps of one name"):
        compared(two_apps(), added=(app_options("cam", graded("cam")),))
