"""What holds of every plan, for problems that nobody picked."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedulerd.optimizer.objectives import MIN_ENERGY, OBJECTIVES
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.optimizer.worth import TIE_BREAK
from schedulerd.plan import Plan
from tests.optimizer.brute import exhaustive, reached
from tests.optimizer.problems import dressed, random_problem, with_arenas, with_policies

HIGHS = Highs(10.0)
CLOSE = 3e-5
"""Rounding of several stages, as a share of a limit or of an app."""


@st.composite
def problems(draw: st.DrawFn, *, largest: int = 3) -> Problem:
    """Of every size that exhaustive search takes, with and without all that an app may have."""
    seed = draw(st.integers(0, 10**6))
    apps = draw(st.integers(1, largest))
    blocks = draw(st.integers(2, 4 if apps == 1 else 3 if apps == 2 else 2))
    plain = random_problem(seed, apps=apps, blocks=blocks, variants=2 + seed % 2, tightness=draw(st.floats(0.0, 1.0)))
    policies = draw(st.sampled_from([0, 0, 2, 3])) if blocks < 4 else 0
    plain = with_policies(plain, seed, policies) if policies else plain
    plain = with_arenas(plain, seed) if draw(st.booleans()) else plain
    return dressed(plain, seed, objective=draw(st.sampled_from(OBJECTIVES)))


def checked(examples: int) -> settings:
    """The same examples in every run."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )


def slack(problem: Problem) -> float:
    """What the tie-break may cost of the value."""
    return CLOSE + TIE_BREAK * sum(app.app.priority for app in problem.apps)


@checked(60)
@given(problem=problems())
def test_plans_equal_exhaustive_search_and_are_proven_to(problem: Problem) -> None:
    """Rank by rank, then the app that loses most, then what the objective adds up."""
    plan = solve(problem, HIGHS, 1)
    excesses, worst, value = reached(problem, plan)
    best_excesses, best_worst, best_value = exhaustive(problem)
    assert (plan.status, plan.gap) == ("optimal", 0.0)
    assert excesses == pytest.approx(best_excesses, abs=CLOSE)
    assert worst == pytest.approx(best_worst, abs=CLOSE)
    assert value == pytest.approx(best_value, abs=slack(problem))


@checked(40)
@given(problem=problems())
def test_plans_keep_every_limit_or_own_up_to_it(problem: Problem) -> None:
    plan = solve(problem, HIGHS, 1)
    assert violations(problem, plan) == ()
    for excess in plan.broken:
        assert excess.share > 0
        assert excess.limit in plan.binding
    for app, planned in zip(problem.apps, plan.apps, strict=True):
        assert (f"budget:{app.app.app_id}" in {e.limit for e in plan.broken}) == (planned.miss_ms > 0)


def loosened(problem: Problem, limit: str, factor: float) -> Problem:
    """The same with more of one limit; its ratio to what is measured against it changes nothing else."""
    limits = problem.limits
    if limit == "memory":
        return replace(problem, limits=replace(limits, memory_bytes=int(limits.memory_bytes * factor) + 1))
    if limit == "utilisation":
        return replace(problem, limits=replace(limits, utilisation_cap=limits.utilisation_cap * factor))
    cap_w = limits.power_cap_w and limits.power_cap_w * factor
    return replace(problem, limits=replace(limits, power_cap_w=cap_w))


def assert_no_worse(before: Problem, after: Problem) -> None:
    """The first figure that differs by more than rounding is smaller after than before."""
    one, other = (reached(problem, solve(problem, HIGHS, 1)) for problem in (before, after))
    for figure, later in zip((*one[0], one[1]), (*other[0], other[1]), strict=True):
        assert later <= figure + CLOSE
        if later < figure - CLOSE:
            return
    assert other[2] <= one[2] + slack(before)


@checked(30)
@given(problem=problems(), limit=st.sampled_from(["memory", "utilisation", "power"]), factor=st.floats(1.0, 3.0))
def test_more_of_a_limit_never_makes_a_plan_worse(problem: Problem, limit: str, factor: float) -> None:
    assert_no_worse(problem, loosened(problem, limit, factor))


@checked(25)
@given(problem=problems(), power_w=st.floats(0.1, 3.0))
def test_no_cap_on_power_is_no_worse_than_any(problem: Problem, power_w: float) -> None:
    capped = replace(problem, limits=replace(problem.limits, power_cap_w=power_w))
    assert_no_worse(capped, replace(problem, limits=replace(problem.limits, power_cap_w=None)))


@checked(25)
@given(problem=problems(largest=1), factor=st.floats(1.0, 3.0))
def test_a_longer_budget_of_an_app_alone_never_makes_its_plan_worse(problem: Problem, factor: float) -> None:
    """Beside others it may: it comes later than theirs, and then waits for them."""
    (app,) = problem.apps
    longer = replace(app, app=replace(app.app, budget_ms=app.app.budget_ms * factor))
    assert_no_worse(problem, replace(problem, apps=(longer,)))


def without_floor(app: AppOptions) -> AppOptions:
    return replace(app, app=replace(app.app, accuracy_floor=0.0))


@checked(30)
@given(problem=problems())
def test_without_a_floor_a_plan_is_no_worse(problem: Problem) -> None:
    """Floors stand before everything else, and everything else may suffer for them."""
    assert_no_worse(problem, replace(problem, apps=tuple(without_floor(app) for app in problem.apps)))


@checked(30)
@given(problem=problems())
def test_without_pins_a_plan_is_no_worse(problem: Problem) -> None:
    """Without floors, since one that a pin keeps from being reached is held again; and where pins move no unit."""
    assume(problem.objective != MIN_ENERGY)
    pinned = replace(problem, apps=tuple(without_floor(app) for app in problem.apps))
    assert_no_worse(pinned, replace(pinned, apps=tuple(replace(app, pins=(), pinned_exits=()) for app in pinned.apps)))


def routes(plan: Plan) -> dict[str, object]:
    return {app.app_id: app.route for app in plan.apps}


@checked(40)
@given(problem=problems(), seed=st.integers(0, 1000))
def test_the_order_of_the_apps_changes_no_route(problem: Problem, seed: int) -> None:
    apps = [*problem.apps]
    random.Random(seed).shuffle(apps)  # noqa: S311 - draws test data, not secrets
    one, other = solve(problem, HIGHS, 1), solve(replace(problem, apps=tuple(apps)), HIGHS, 1)
    assert routes(one) == routes(other)
    assert [app.app_id for app in other.apps] == [app.app.app_id for app in apps]
    assert (one.broken, one.binding, one.status) == (other.broken, other.binding, other.status)


@checked(25)
@given(problem=problems())
def test_equal_problems_have_equal_plans(problem: Problem) -> None:
    assert solve(problem, HIGHS, 1) == solve(replace(problem), HIGHS, 1)


@checked(25)
@given(problem=problems())
def test_what_runs_is_left_only_for_something_that_is_worth_the_swap(problem: Problem) -> None:
    """What is best stays when it runs, whatever leaving it costs."""
    plan = solve(replace(problem, swap_cost=0.0), HIGHS, 1)
    running = {app.app_id: app.route for app in plan.apps}
    apps = tuple(replace(app, running=running[app.app.app_id]) for app in problem.apps)
    dear = replace(problem, apps=apps, swap_cost=0.05)
    assert routes(solve(dear, HIGHS, 1)) == running
