"""Why an app gets no more: limits, what more of them buys, the next better route and whom it costs, the runner-up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockstore.exits import NO_EXITS
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.optimizer.why import Why, best_of, why
from schedulerd.plan import Plan, Route
from tests.optimizer.brute import every_choice, figures
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    graded,
    option,
    policy_option,
    random_problem,
    two_apps,
)

HIGHS = Highs(10.0)


def planned(problem: Problem) -> Plan:
    return solve(problem, HIGHS, 1)


def reasons(problem: Problem, app_id: str, plan: Plan | None = None) -> Why:
    return why(problem, plan or planned(problem), app_id, HIGHS)


def one_app(budget_ms: float) -> Problem:
    """Three blocks of 4, 3, 2 ms, 0.4 ms more at the 95th percentile; 0, 1, 2 points each."""
    return Problem((app_options("plates", graded("plates"), budget_ms=budget_ms),), ROOMY)


def test_the_next_better_route_its_gain_and_what_forbids_it() -> None:
    answer = reasons(one_app(12.5), "plates")
    assert answer.binding == ("budget:plates",)
    assert answer.better is not None
    assert answer.better.gain == pytest.approx(0.01)
    assert answer.better.latency_p95_ms == pytest.approx(13.5)
    assert [(e.limit, round(e.share, 4)) for e in answer.better.forbidden_by] == [("budget:plates", 0.08)]
    assert answer.better.miss_ms == pytest.approx(1.0)
    assert answer.better.cost == ()


def test_what_a_better_route_adds_to_an_excess_is_told_apart_from_what_is_exceeded_already() -> None:
    """5 ms are missed by 2.5 ms already; one point more would take a millisecond more."""
    answer = reasons(one_app(5.0), "plates")
    assert answer.better is not None
    (budget,) = answer.better.forbidden_by
    assert (budget.share, budget.added) == (pytest.approx(0.7), pytest.approx(0.2))
    assert answer.runner_up is not None
    (further,) = answer.runner_up.forbidden_by
    (broken,) = answer.runner_up.broken
    assert (further.share, further.added) == (pytest.approx(broken.share), pytest.approx(broken.share - 0.5))


def test_a_gain_that_nobody_would_notice_is_no_better_route() -> None:
    block = (option("full", 8.0, 0.0), option("good", 2.0, 0.0004))
    problem = Problem((app_options("cam", (block,), budget_ms=5.0),), ROOMY)
    assert reasons(problem, "cam").better is None


def test_where_plans_are_found_within_a_gap_what_is_known_to_be_better_stands() -> None:
    problem = one_app(12.5)
    found, known = replace(planned(one_app(9.5)), number=3, status="bounded", gap=0.1), planned(problem)
    best = best_of(problem, found, known)
    assert best.apps == known.apps
    assert (best.number, best.status, best.gap) == (3, "bounded", 0.1)
    assert best_of(problem, known, found).apps == known.apps


def test_a_tenth_more_of_a_budget_buys_what_fits_into_it() -> None:
    """12.5 ms take 12.5; 13.75 ms take 13.5, one point more."""
    (relaxed,) = reasons(one_app(12.5), "plates").relaxed
    assert (relaxed.limit, relaxed.before, relaxed.after) == ("budget:plates", 12.5, pytest.approx(13.75))
    assert relaxed.gain == pytest.approx(0.01)
    assert relaxed.weighted_gain == pytest.approx(0.01 / 0.9)
    assert relaxed.relief_ms == 0


def test_a_tenth_more_of_a_budget_that_is_missed_lessens_the_miss() -> None:
    answer = reasons(one_app(5.0), "plates")
    (relaxed,) = answer.relaxed
    assert (answer.planned.miss_ms, relaxed.relief_ms) == (pytest.approx(2.5), pytest.approx(0.5))
    assert answer.nearest_budget_ms == 7.5


def test_only_a_budget_that_is_missed_has_a_nearest_one() -> None:
    assert reasons(one_app(12.5), "plates").nearest_budget_ms is None


def test_memory_that_another_app_holds_is_paid_for_by_that_app() -> None:
    """Both want 12 MB and together get 20; door, the less urgent, runs 8 MB of them."""
    problem = two_apps(memory_bytes=20_000_000)
    answer = reasons(problem, "door")
    assert answer.binding == ("memory",)
    assert answer.better is not None
    assert [e.limit for e in answer.better.forbidden_by] == ["memory"]
    assert [(c.app_id, round(c.gain, 4)) for c in answer.better.cost] == [("cam", -0.01)]
    assert answer.better.weighted_gain == pytest.approx((3 * 0.01 - 8 * 0.01) / 0.9 / 11)
    assert answer.better.broken == ()
    (memory,) = answer.relaxed
    assert (memory.before, memory.after, memory.gain) == (20_000_000, 22_000_000, pytest.approx(0.02))


def test_the_app_that_anothers_longer_block_would_keep_waiting() -> None:
    cam = app_options("cam", ((option("only", 2.0, 0.0),),), budget_ms=5.0, priority=9)
    door = app_options("door", ((option("long", 8.0, 0.0), option("short", 2.0, 0.05)),))
    answer = reasons(Problem((cam, door), ROOMY), "door")
    assert answer.binding == ("budget:cam",)
    assert answer.better is not None
    assert [e.limit for e in answer.better.forbidden_by] == ["budget:cam"]
    assert [(c.app_id, c.relief_ms) for c in answer.better.cost] == [("cam", pytest.approx(-5.3))]
    assert [e.limit for e in answer.better.broken] == ["budget:cam"]


def test_the_less_urgent_app_that_a_longer_route_would_hold_up() -> None:
    """plates waits for the whole of gate: 2 + 0.3 + 6 of 8 ms; and gate for what is left of a plates just before it."""
    plates = app_options("plates", ((option("a", 1.0, 0.0),), (option("b", 1.0, 0.0),)), budget_ms=8.0, priority=9)
    blocks = ((option("long", 4.0, 0.0), option("short", 3.0, 0.05)), (option("tail", 2.0, 0.0),))
    answer = reasons(Problem((plates, app_options("gate", blocks, budget_ms=7.9)), ROOMY), "gate")
    assert answer.better is not None
    forbidden = [(e.limit, round(e.share, 4)) for e in answer.better.forbidden_by]
    assert forbidden == [("budget:plates", round(0.3 / 8.0, 4)), ("budget:gate", round(0.3 / 7.9, 4))]
    assert answer.binding == ("budget:gate", "budget:plates")


def test_the_policy_that_would_be_more_accurate_and_what_forbids_it() -> None:
    policies = (policy_option(3, {}), policy_option(3, {0: 0.62}, 0.001, head_ms=0.2))
    plates = app_options("plates", graded("plates"), policies=policies)
    answer = reasons(Problem((plates,), replace(ROOMY, utilisation_cap=0.1)), "plates")
    assert answer.better is not None
    assert (answer.better.route.policy, answer.better.gain) == (NO_EXITS, pytest.approx(0.001))
    assert [e.limit for e in answer.better.forbidden_by] == ["utilisation"]
    assert answer.binding == ("utilisation",)


def test_an_app_that_has_everything() -> None:
    answer = reasons(two_apps(), "cam")
    assert (answer.better, answer.binding, answer.relaxed, answer.nearest_budget_ms) == (None, (), (), None)
    assert answer.unused_gain == 0


def test_an_app_with_one_route_has_no_runner_up() -> None:
    problem = Problem((app_options("gate", ((option("only", 2.0, 0.0),),)),), ROOMY)
    assert reasons(problem, "gate").runner_up is None


def test_what_others_hold_does_not_bind_an_app_that_has_everything() -> None:
    gate = app_options("gate", ((option("only", 2.0, 0.0),),))
    problem = Problem((*two_apps().apps, gate), replace(ROOMY, memory_bytes=20_000_000))
    assert planned(problem).binding == ("memory",)
    assert reasons(problem, "gate").binding == ()


def test_the_gain_that_a_kept_plan_forgoes_is_told_and_limits_are_not_credited_with_it() -> None:
    """The plan was made for 9.5 ms; the budget has grown to 12.5 ms."""
    old, problem = planned(one_app(9.5)), one_app(12.5)
    answer = reasons(problem, "plates", old)
    assert answer.unused_gain == pytest.approx(0.03 / 0.9)
    assert answer.better is not None
    assert answer.better.forbidden_by == ()
    assert answer.binding == ()
    assert answer.runner_up is not None
    assert answer.runner_up.weighted_gain == answer.unused_gain


def test_pins_leave_no_other_routes() -> None:
    (plates,) = one_app(12.5).apps
    held = replace(plates, pins=("plates0v1", "plates1v1", ""))
    variants = ("plates0v1", "plates1v1", "plates2v1")
    route = Route("model-plates", variants, tuple(f"blob-{variant}" for variant in variants))
    problem = Problem((held,), ROOMY)
    answer = why(problem, predict(problem, {"plates": route}), "plates", HIGHS)
    assert answer.better is not None
    assert answer.better.route.variants == ("plates0v1", "plates1v1", "plates2v0")
    assert answer.runner_up is not None
    assert answer.runner_up.route.variants == ("plates0v1", "plates1v1", "plates2v0")


def test_what_runs_against_a_pin_is_not_taken_for_the_best() -> None:
    """The pinned variant could not be loaded so far, and is worth less than what runs."""
    (plates,) = one_app(100.0).apps
    held = Problem((replace(plates, pins=("plates0v1", "", "")),), ROOMY)
    running = planned(Problem((plates,), ROOMY))
    assert running.apps[0].route.variants[0] == "plates0v0"
    answer = why(held, running, "plates", HIGHS)
    assert answer.runner_up is not None
    assert answer.runner_up.route.variants[0] == "plates0v1"
    assert answer.unused_gain < 0


@pytest.mark.parametrize("seed", range(12))
def test_the_runner_up_is_the_best_plan_in_which_the_app_runs_another_route(seed: int) -> None:
    problem = random_problem(seed, tightness=0.3 + 0.05 * seed)
    plan = planned(problem)
    app, answer = plan.apps[0], reasons(problem, "app0", plan)
    others = (
        figures(problem, chosen)
        for chosen in every_choice(problem)
        if tuple(o.variant for o in chosen[0].options) != app.route.variants
    )
    excesses, _, loss = min(others, key=lambda f: (tuple(round(e, 6) for e in f[0]), f[2]))
    assert answer.runner_up is not None
    assert answer.runner_up.route != app.route
    weights = sum(a.app.priority for a in problem.apps)
    assert sum(e.share for e in answer.runner_up.broken) == pytest.approx(sum(excesses), abs=1e-5)
    assert answer.runner_up.weighted_accuracy == pytest.approx(1.0 - loss / weights, abs=1e-5)


def test_the_runner_up_is_the_second_best_by_the_objective() -> None:
    """The least energy is 5 mJ, then 6 mJ, although the third is more accurate."""
    energies_mj = {"full": 10.0, "mid": 5.0, "low": 6.0}
    block = tuple(
        replace(option(variant, 2.0, 0.01 * place), energy_mj=energy_mj)
        for place, (variant, energy_mj) in enumerate(energies_mj.items())
    )
    problem = Problem((app_options("cam", (block,)),), ROOMY, objective="min-energy")
    answer = reasons(problem, "cam")
    assert answer.planned.route.variants == ("mid",)
    assert answer.runner_up is not None
    assert answer.runner_up.route.variants == ("low",)


def test_a_cap_on_power_binds_and_a_tenth_more_buys_accuracy() -> None:
    """At 10 frames a second 0.21 W pays for 21 mJ; 0.231 W for 23."""
    block = tuple(
        replace(option(variant, 2.0, drop), energy_mj=energy_mj)
        for variant, drop, energy_mj in (("full", 0.0, 30.0), ("mid", 0.01, 23.0), ("low", 0.02, 20.0))
    )
    problem = Problem((app_options("cam", (block,)),), replace(ROOMY, power_cap_w=0.21))
    answer = reasons(problem, "cam")
    assert answer.planned.route.variants == ("low",)
    assert answer.binding == ("power",)
    (power,) = answer.relaxed
    assert (power.before, power.after, power.gain) == (0.21, pytest.approx(0.231), pytest.approx(0.01))


def test_an_unknown_app_is_answered_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="no app 'nobody'; there are cam, door"):
        reasons(two_apps(), "nobody")
