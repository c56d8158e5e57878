"""What changed, and why not more, in words and figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockstore.exits import NO_EXITS
from schedulerd.control.explain import sentence, why
from schedulerd.control.optimizer import solve
from schedulerd.control.problem import PolicyOption, Problem
from schedulerd.control.solvers import Highs
from schedulerd.plan import EMPTY_PLAN, Plan
from tests.control.problems import ROOMY, app_options, graded, option, policy_option

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


def test_why_names_the_policy_that_would_be_more_accurate_and_what_forbids_it() -> None:
    problem = with_exits(board(utilisation_cap=0.14), EARLY)
    answer = why(problem, planned(problem), "plates")
    assert answer.next_better is not None
    assert (answer.next_better.policy, answer.gain) == (NO_EXITS, pytest.approx(0.001))
    assert [e.limit for e in answer.forbidden_by] == ["utilisation"]
    assert answer.binding == ("utilisation",)


def test_joining_leaving_and_growing_back() -> None:
    both, alone = planned(board()), planned(board(apps=("gate",)))
    assert sentence(EMPTY_PLAN, alone, "gate joins") == "gate joins: gate starts at 4.7 ms and accuracy 90.0%"
    assert sentence(both, alone, "plates leaves") == "plates leaves: gate keeps its route; plates is gone"
    assert sentence(alone, EMPTY_PLAN, "gate leaves") == "gate leaves: gate is gone"
    assert "plates moves to 3 larger blocks" in sentence(planned(board(plates_ms=10.0)), both, "budget back")
    assert sentence(both, both, "pressure") == "pressure: plates and gate keep their routes"


def test_a_plan_without_the_solver_says_so() -> None:
    plan = replace(planned(board()), status="greedy")
    assert sentence(plan, plan, "pressure").endswith("; chosen without the solver")


def test_why_names_the_next_better_route_and_what_forbids_it() -> None:
    problem = board(plates_ms=15.5)
    answer = why(problem, planned(problem), "plates")
    assert answer.binding == ("budget:plates",)
    assert answer.next_better is not None
    assert answer.gain == pytest.approx(0.01)
    assert answer.latency_p95_ms == pytest.approx(16.5)
    assert [(e.limit, round(e.share, 4)) for e in answer.forbidden_by] == [("budget:plates", round(1 / 15.5, 4))]


def test_why_names_the_app_that_another_ones_gain_would_cost() -> None:
    """door's longer block would keep the urgent cam waiting."""
    cam = app_options("cam", ((option("only", 2.0, 0.0),),), budget_ms=5.0, priority=9)
    door = app_options("door", ((option("long", 8.0, 0.0), option("short", 2.0, 0.05)),))
    problem = Problem((cam, door), ROOMY)
    answer = why(problem, planned(problem), "door")
    assert [e.limit for e in answer.forbidden_by] == ["budget:cam"]
    assert answer.binding == ("budget:cam",)


def test_why_names_the_less_urgent_app_that_a_longer_route_would_hold_up() -> None:
    """plates waits for the whole of gate: 2 + 0.3 + 6 of 8 ms; and gate for what is left of a plates just before it."""
    plates = app_options("plates", ((option("a", 1.0, 0.0),), (option("b", 1.0, 0.0),)), budget_ms=8.0, priority=9)
    blocks = ((option("long", 4.0, 0.0), option("short", 3.0, 0.05)), (option("tail", 2.0, 0.0),))
    problem = Problem((plates, app_options("gate", blocks, budget_ms=7.9)), ROOMY)
    answer = why(problem, planned(problem), "gate")
    forbidden = [(e.limit, round(e.share, 4)) for e in answer.forbidden_by]
    assert forbidden == [("budget:plates", round(0.3 / 8.0, 4)), ("budget:gate", round(0.3 / 7.9, 4))]
    assert answer.binding == ("budget:gate", "budget:plates")


def test_why_of_an_app_that_has_everything() -> None:
    problem = board()
    answer = why(problem, planned(problem), "gate")
    assert (answer.next_better, answer.gain, answer.forbidden_by, answer.binding) == (None, 0.0, (), ())
    with pytest.raises(KeyError, match="there are plates, gate"):
        why(problem, planned(problem), "nobody")
