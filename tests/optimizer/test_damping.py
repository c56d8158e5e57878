"""Keep or change, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.damping import DampingSettings, Decision, keep_or_change
from schedulerd.optimizer.objectives import MAX_ACCURACY, MAX_FAIRNESS, MIN_ENERGY, MIN_LATENCY
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import Problem
from schedulerd.plan import Excess, Plan, relief
from tests.optimizer.problems import ROOMY, app_options, option

SETTINGS = DampingSettings(min_dwell_s=2.0, min_gain=0.01, min_relief=0.02)

# Of an accuracy of 1 the variants lose nothing, 1 point and 5 points; every point makes them 1 ms faster.
BLOCK = (option("whole", 10.0, 0.0), option("near", 9.0, 0.01), option("small", 5.0, 0.05))
PROBLEM = Problem((app_options("cam", (BLOCK,), full_accuracy=1.0, budget_ms=100.0),), ROOMY)
WHOLE, NEAR, SMALL = 0, 1, 2


def plan(pick: int, *broken: Excess, problem: Problem = PROBLEM) -> Plan:
    """Every app runs the same variant of its one block."""
    return replace(plan_of(choose(problem, [[pick]] * len(problem.apps))), broken=broken)


def memory(share: float) -> Excess:
    """Memory exceeded by a share."""
    return Excess("memory", share, 1)


def budget(app_id: str, share: float, rank: int = 9) -> Excess:
    """A budget exceeded by a share."""
    return Excess(f"budget:{app_id}", share, rank)


OTHER = replace(PROBLEM, apps=(replace(PROBLEM.apps[0], app=replace(PROBLEM.apps[0].app, app_id="door")),))


@pytest.mark.parametrize(
    ("running", "candidate", "urgent", "since_s", "change", "reason"),
    [
        # Asked for: at once, even when it gains nothing.
        (plan(WHOLE), plan(SMALL), True, 0.0, True, "asked"),
        (plan(WHOLE, problem=OTHER), plan(WHOLE), False, 0.0, True, "apps"),
        # Nothing to do.
        (plan(WHOLE), plan(WHOLE), False, 99.0, False, "same"),
        # The running plan breaks a limit that the candidate keeps: at once, at any cost in accuracy.
        (plan(WHOLE, memory(0.1)), plan(SMALL), False, 0.0, True, "memory"),
        (plan(WHOLE, budget("cam", 0.3)), plan(SMALL, budget("cam", 0.1)), False, 0.0, True, "budget:cam"),
        # A little less of the same excess is no reason, or an overloaded board would never rest.
        (plan(WHOLE, budget("cam", 0.30)), plan(NEAR, budget("cam", 0.29)), False, 99.0, False, "gain"),
        # A miss of low priority in place of one of high priority is a relief; the reverse is none.
        (plan(NEAR, budget("cam", 0.2, 5)), plan(SMALL, budget("door", 0.4, 9)), False, 0.0, True, "budget:cam"),
        (plan(NEAR, budget("door", 0.4, 9)), plan(WHOLE, budget("cam", 0.2, 5)), False, 99.0, False, "further"),
        # Better, but too soon, or too little.
        (plan(SMALL), plan(WHOLE), False, 1.9, False, "1.9 s old"),
        (plan(SMALL), plan(NEAR), False, 2.0, True, "gain of 0.0400"),
        (plan(NEAR), plan(SMALL), False, 99.0, False, "gain of -0.0400"),
    ],
)
def test_keep_or_change(
    running: Plan, candidate: Plan, urgent: bool, since_s: float, change: bool, reason: str
) -> None:
    decision = keep_or_change(PROBLEM, running, candidate, urgent=urgent, since_change_s=since_s, settings=SETTINGS)
    assert decision.change is change
    assert reason in decision.reason


def weighed(problem: Problem, running: int, candidate: int, min_gain: float = SETTINGS.min_gain) -> Decision:
    """A change that nobody asked for, long after the last one."""
    before, after = plan(running, problem=problem), plan(candidate, problem=problem)
    apps = tuple(replace(a, running=p.route) for a, p in zip(problem.apps, before.apps, strict=True))
    settings = replace(SETTINGS, min_gain=min_gain)
    return keep_or_change(
        replace(problem, apps=apps), before, after, urgent=False, since_change_s=99.0, settings=settings
    )


def test_a_gain_has_to_exceed_what_the_swap_costs() -> None:
    """4 points are gained; the one block has to be loaded."""
    dear = replace(PROBLEM, swap_cost=0.035)
    assert weighed(replace(PROBLEM, swap_cost=0.02), SMALL, NEAR).change
    kept = weighed(dear, SMALL, NEAR)
    assert not kept.change
    assert kept.reason == "gain of 0.0400 by max-accuracy, less 0.0350 for the swap, is under 0.01"


def test_what_is_in_memory_already_costs_half() -> None:
    warm = replace(PROBLEM, swap_cost=0.035, resident=frozenset({"blob-near"}))
    assert "less 0.0175 for the swap" in weighed(warm, SMALL, NEAR).reason
    assert weighed(warm, SMALL, NEAR).change


def test_the_gain_is_the_mean_over_the_apps_by_priority() -> None:
    """Both apps gain 4 points of an accuracy of 1 and 0.5; cam has four times the priority."""
    cam = app_options("cam", (BLOCK,), full_accuracy=1.0, priority=8)
    door = app_options("door", (BLOCK,), full_accuracy=0.5, priority=2)
    assert "gain of 0.0480" in weighed(replace(PROBLEM, apps=(cam, door)), SMALL, NEAR).reason


@pytest.mark.parametrize(
    ("objective", "gain"),
    [
        (MAX_ACCURACY, "-0.0400"),
        # 4 ms of a budget of 100 ms; 4 of the 10 ms for which the original draws power.
        (MIN_LATENCY, "0.0400"),
        (MIN_ENERGY, "0.4000"),
        (MAX_FAIRNESS, "-0.0400"),
    ],
)
def test_a_change_is_weighed_by_what_is_to_be_best(objective: str, gain: str) -> None:
    decision = weighed(replace(PROBLEM, objective=objective), NEAR, SMALL)
    assert decision.reason.startswith(f"gain of {gain} by {objective}")
    assert decision.change is (objective in (MIN_LATENCY, MIN_ENERGY))


def test_under_fairness_the_app_that_loses_most_decides() -> None:
    """door loses 5 points instead of 1; the mean is better all the same, because cam of high priority gains 3."""
    cam = app_options("cam", ((option("c3", 5.0, 0.03), option("c0", 5.0, 0.0)),), full_accuracy=1.0, priority=9)
    door = app_options("door", ((option("d1", 5.0, 0.01), option("d5", 5.0, 0.05)),), full_accuracy=1.0, priority=1)
    problem = replace(PROBLEM, apps=(cam, door))
    before, after = plan(0, problem=problem), plan(1, problem=problem)

    def change(objective: str) -> bool:
        aimed = replace(problem, objective=objective)
        return keep_or_change(aimed, before, after, urgent=False, since_change_s=99.0, settings=SETTINGS).change

    assert change(MAX_ACCURACY)
    assert not change(MAX_FAIRNESS)


def test_relief_is_decided_by_the_first_rank_that_differs() -> None:
    before = (memory(0.1), budget("cam", 0.5))
    assert relief(before, (memory(0.1), budget("cam", 0.2))) == pytest.approx(0.3)
    assert relief(before, (memory(0.3),)) == pytest.approx(-0.2)
    assert relief(before, (memory(0.11), budget("cam", 0.1)), 0.02) == pytest.approx(0.4)
    assert relief(before, before) == 0.0


def test_two_misses_of_one_priority_are_added_up() -> None:
    one = (budget("cam", 0.3),)
    two = (budget("cam", 0.1), budget("door", 0.3))
    assert relief(one, two) == pytest.approx(-0.1)


def test_settings_can_switch_damping_off() -> None:
    eager = replace(SETTINGS, min_dwell_s=0.0, min_gain=0.0)
    equal = replace(PROBLEM, apps=(app_options("cam", ((option("a", 5.0, 0.01), option("b", 5.0, 0.01)),)),))
    before, after = plan(0, problem=equal), plan(1, problem=equal)
    assert keep_or_change(equal, before, after, urgent=False, since_change_s=0.0, settings=eager).change


def test_what_is_pinned_is_changed_to_at_once_though_it_gains_nothing() -> None:
    """It could not be loaded when the operator asked, or had failed for a while."""
    held = replace(PROBLEM, apps=(replace(PROBLEM.apps[0], pins=("small",)),))

    def decided(problem: Problem) -> Decision:
        urgent, since_s = False, 0.0
        return keep_or_change(
            problem, plan(WHOLE), plan(SMALL), urgent=urgent, since_change_s=since_s, settings=SETTINGS
        )

    assert decided(held) == Decision(True, "cam runs something else than is pinned")
    assert not decided(PROBLEM).change
