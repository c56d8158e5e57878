"""What changed, in words and figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schedulerd.optimizer.explain import clauses, sentence
from schedulerd.optimizer.problem import PolicyOption, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.plan import EMPTY_PLAN, Excess, Plan
from tests.optimizer.problems import ROOMY, app_options, graded, policy_option

HIGHS = Highs(10.0)


def board(*, plates_ms: float = 100.0, apps: tuple[str, ...] = ("plates", "gate"), **limits: Any) -> Problem:
    """Apps of three graded blocks each; `gate` needs no more than it gets."""
    made = {
        "plates": app_options("plates", graded("plates"), budget_ms=plates_ms, priority=5),
        "gate": app_options("gate", (tuple(graded("gate", blocks=1)[0][:1]),), priority=7),
    }
    return Problem(tuple(made[name] for name in apps), replace(ROOMY, **limits))


def planned(problem: Problem) -> Plan:
    return solve(problem, HIGHS, 1)


def test_a_smaller_budget_in_one_sentence() -> None:
    told = sentence(planned(board()), planned(board(plates_ms=16.5)), "budget of plates 100 -> 16.5 ms")
    assert told == (
        "budget of plates 100 -> 16.5 ms: plates moves to 1 smaller block "
        "(17.5 -> 16.5 ms, accuracy 90.0 -> 89.0%); gate keeps its route"
    )


def test_a_budget_that_nothing_meets_is_said_with_the_miss() -> None:
    told = sentence(planned(board()), planned(board(plates_ms=10.0)), "budget of plates 100 -> 10 ms")
    assert "3 smaller blocks" in told
    assert told.endswith("plates misses its budget of 10 ms by 1.5 ms")


def test_a_memory_limit_that_nothing_fits_is_said_with_the_excess() -> None:
    told = sentence(planned(board()), planned(board(memory_bytes=8_000_000)), "memory limit set to 8.0 MB")
    assert told.endswith("memory is 2.0 MB over its limit of 8.0 MB")


def test_busy_lanes_are_said() -> None:
    told = sentence(planned(board()), planned(board(utilisation_cap=0.08)), "blocks run 3 times their profile")
    assert told.endswith("the lanes are 10% busy, 25% over their cap")


def test_blocks_that_hold_more_and_recognise_less_are_neither_smaller_nor_larger() -> None:
    old = planned(board(apps=("plates",)))
    (app,) = old.apps
    route = replace(app.route, variants=("other", *app.route.variants[1:]))
    new = replace(
        old, apps=(replace(app, route=route, memory_bytes=app.memory_bytes + 1, accuracy=app.accuracy - 0.01),)
    )
    assert "plates moves to 1 other block (" in sentence(old, new, "tick")
    assert "plates moves to 1 other block (" in sentence(new, old, "tick")


def with_exits(problem: Problem, *policies: PolicyOption) -> Problem:
    """The same problem with exit policies for plates."""
    plates, *others = problem.apps
    return replace(problem, apps=(replace(plates, policies=(policy_option(3, {}), *policies)), *others))


EARLY = policy_option(3, {0: 0.62}, 0.001, head_ms=0.2)


def test_an_app_that_begins_to_leave_early_says_where_and_how_often() -> None:
    whole, capped = with_exits(board()), with_exits(board(utilisation_cap=0.14), EARLY)
    assert sentence(planned(whole), planned(capped), "the lanes are busy") == (
        "the lanes are busy: plates leaves early at exit0 (62% of its frames), 17.5 -> 17.9 ms, 12.0 -> 7.2 ms on "
        "average, accuracy 90.0 -> 89.9%; gate keeps its route"
    )
    assert "plates runs every frame to the end, " in sentence(planned(capped), planned(whole), "they are idle")
    joined = sentence(EMPTY_PLAN, planned(capped), "plates joins")
    assert "plates starts at 17.9 ms and accuracy 89.9% and leaves early at exit0 (62% of its frames)" in joined


def test_blocks_and_exits_that_change_together_are_one_move() -> None:
    whole, both = with_exits(board()), with_exits(board(utilisation_cap=0.09), EARLY)
    told = sentence(planned(whole), planned(both), "tick")
    assert "tick: plates moves to 2 smaller blocks and leaves early at exit0 (62% of its frames), " in told


def test_a_depth_that_is_capped_is_said() -> None:
    def capped(policy: PolicyOption) -> str:
        return sentence(planned(with_exits(board())), planned(with_exits(board(plates_ms=13.2), policy)), "tick")

    assert "tick: plates ends every frame at exit1, " in capped(policy_option(3, {}, 0.01, cap=1))
    told = capped(policy_option(3, {0: 0.25}, 0.01, cap=1))
    assert "tick: plates leaves early at exit0 (25% of its frames) and ends at exit1, " in told


def test_joining_leaving_and_growing_back() -> None:
    both, alone = planned(board()), planned(board(apps=("gate",)))
    assert sentence(EMPTY_PLAN, alone, "gate joins") == "gate joins: gate starts at 4.7 ms and accuracy 90.0%"
    assert sentence(both, alone, "plates leaves") == "plates leaves: gate keeps its route; plates is gone"
    assert sentence(alone, EMPTY_PLAN, "gate leaves") == "gate leaves: gate is gone"
    assert sentence(both, alone, "a block failed", {"plates"}) == (
        "a block failed: gate keeps its route; nothing can be run for plates"
    )
    assert "plates moves to 3 larger blocks" in sentence(planned(board(plates_ms=10.0)), both, "budget back")
    assert sentence(both, both, "pressure") == "pressure: plates and gate keep their routes"


def test_a_plan_without_the_solver_says_so() -> None:
    plan = replace(planned(board()), status="greedy")
    assert sentence(plan, plan, "pressure").endswith("; chosen without the solver")


def test_a_miss_is_of_the_percentile_that_the_budget_is_about() -> None:
    """The 95th percentile, 11.5 ms, meets the budget; the 99th does not."""
    plates, gate = board(plates_ms=12.0).apps
    strict = replace(board(), apps=(replace(plates, app=replace(plates.app, percentile=99.0)), gate))
    plan = planned(strict)
    (missed,) = plan.broken
    assert (missed.limit, plan.apps[0].latency_p95_ms) == ("budget:plates", pytest.approx(11.5))
    assert f"plates misses its budget of 12 ms by {plan.apps[0].miss_ms:.1f} ms" in sentence(plan, plan, "tick")


def test_a_cap_on_power_that_nothing_keeps_is_said() -> None:
    plan = replace(planned(board()), broken=(Excess("power", 0.25, 3),))
    assert sentence(plan, plan, "tick").endswith("the apps draw 25% more than the cap on power allows")


def test_clauses_are_the_parts_of_the_sentence() -> None:
    old, new = planned(board()), planned(board(plates_ms=10.0))
    assert sentence(old, new, "tick") == f"tick: {'; '.join(clauses(old, new))}"
    assert len(clauses(old, new)) == 3
    assert clauses(EMPTY_PLAN, EMPTY_PLAN) == []
