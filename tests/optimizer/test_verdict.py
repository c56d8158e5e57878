"""Two plans for one problem: which is better, whatever they were made for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.objectives import MAX_ACCURACY, MAX_FAIRNESS, MIN_ENERGY, MIN_LATENCY
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.verdict import Judged, Verdict, judged, objective_values, verdict
from schedulerd.plan import Plan
from tests.optimizer.problems import two_apps, with_budgets

FULL, HALF, LEAST = (0, 0, 0), (1, 1, 1), (2, 2, 2)


def plan(problem: Problem, cam: tuple[int, ...], door: tuple[int, ...]) -> Plan:
    """What these options, by index for each block, would give."""
    return plan_of(choose(problem, [cam, door]), 1)


def judge(problem: Problem, cam: tuple[int, ...], door: tuple[int, ...], *faults: str) -> Judged:
    return judged(problem, plan(problem, cam, door), faults)


@pytest.mark.parametrize(
    ("objective", "before", "after", "expected"),
    [
        (MAX_ACCURACY, (FULL, HALF), (FULL, HALF), "same"),
        (MAX_ACCURACY, (FULL, HALF), (FULL, FULL), "better"),
        (MAX_ACCURACY, (FULL, FULL), (FULL, HALF), "worse"),
        # As much is lost by either, in another block.
        (MAX_ACCURACY, (FULL, (1, 0, 0)), (FULL, (0, 1, 0)), "equal"),
        # cam has priority 8 and door 3.
        (MAX_ACCURACY, (FULL, LEAST), (HALF, FULL), "worse"),
        (MAX_FAIRNESS, (FULL, LEAST), (HALF, FULL), "better"),
        (MAX_FAIRNESS, (HALF, HALF), (FULL, HALF), "better"),
        (MIN_LATENCY, (FULL, HALF), (FULL, FULL), "worse"),
        (MIN_LATENCY, (FULL, FULL), (LEAST, HALF), "better"),
        (MIN_ENERGY, (FULL, FULL), (FULL, LEAST), "better"),
        (MIN_ENERGY, (FULL, LEAST), (FULL, FULL), "worse"),
    ],
)
def test_the_objective_decides_where_limits_do_not(
    objective: str,
    before: tuple[tuple[int, ...], tuple[int, ...]],
    after: tuple[tuple[int, ...], tuple[int, ...]],
    expected: Verdict,
) -> None:
    problem = replace(two_apps(), objective=objective)
    assert verdict(judge(problem, *before), judge(problem, *after)) == expected


def test_limits_decide_before_the_objective() -> None:
    problem = with_budgets(two_apps(), cam=9.0)
    accurate, quick = judge(problem, FULL, FULL), judge(problem, LEAST, LEAST)
    assert accurate.plan.broken
    assert verdict(accurate, quick) == "better"
    assert verdict(quick, accurate) == "worse"


def test_leaving_the_running_route_counts() -> None:
    problem = replace(two_apps(), swap_cost=0.5)
    running = plan(problem, FULL, HALF)
    apps = tuple(replace(app, running=planned.route) for app, planned in zip(problem.apps, running.apps, strict=True))
    problem = replace(problem, apps=apps)
    assert verdict(judge(problem, FULL, HALF), judge(problem, FULL, FULL)) == "worse"


def test_a_plan_with_a_fault_is_faulty_whatever_it_is_worth() -> None:
    problem = two_apps()
    assert verdict(judge(problem, LEAST, LEAST), judge(problem, FULL, FULL, "cam: wrong")) == "faulty"
    assert verdict(judge(problem, FULL, FULL, "cam: wrong"), judge(problem, FULL, HALF)) == "worse"


def test_routes_with_a_blob_too_few_cannot_run() -> None:
    problem = two_apps()
    whole = plan(problem, FULL, FULL)
    cut = replace(whole.apps[0].route, digests=whole.apps[0].route.digests[:-1])
    torn = replace(whole, apps=(replace(whole.apps[0], route=cut), whole.apps[1]))
    assert judged(problem, torn, ()).values is None


def test_any_plan_is_better_than_routes_that_cannot_run() -> None:
    problem = two_apps()
    elsewhere = replace(plan(problem, FULL, FULL), apps=())
    stranger = judged(problem, elsewhere, ("apps: others",))
    assert stranger.values is None
    assert verdict(stranger, judge(problem, LEAST, LEAST)) == "better"
    assert verdict(judge(problem, LEAST, LEAST), stranger) == "faulty"


def test_how_a_plan_was_found_stays_as_it_was_told() -> None:
    problem = two_apps()
    told = replace(
        plan(problem, FULL, FULL), status="time_limit", gap=0.25, solve_ms=7.0, note="late", utilisation=99.0
    )
    found = judged(problem, told, ()).plan
    assert (found.status, found.gap, found.solve_ms, found.note) == ("time_limit", 0.25, 7.0, "late")
    assert found.utilisation < 1, "predictions are made anew"


def test_the_largest_loss_comes_first_where_fairness_is_wanted() -> None:
    problem = replace(two_apps(), objective=MAX_FAIRNESS)
    largest, summed = objective_values(choose(problem, [FULL, LEAST]))
    assert largest == pytest.approx(0.06 / 0.9)
    assert summed == pytest.approx(3 * 0.06 / 0.9, rel=1e-3)
