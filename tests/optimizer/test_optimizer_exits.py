"""Exit policies among the choices of a plan: expected and worst path, depth caps, heads in memory, ties, floors."""

from __future__ import annotations

from dataclasses import replace

import pulp
import pytest

from blockstore.exits import NO_EXITS
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import PolicyOption, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Answer, Highs
from tests.optimizer.problems import ROOMY, app_options, graded, policy_option, two_apps, with_budgets

HIGHS = Highs(10.0)


class NoSolver:
    """A `Solver` that must not be needed."""

    time_limit_s = 1.0

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        raise AssertionError("the most accurate routes fit")


def with_exits(problem: Problem, *policies: PolicyOption) -> Problem:
    """The same problem with a choice of policies for cam, the first being to run every frame to the end."""
    cam, *others = problem.apps
    cam = replace(cam, policies=(policy_option(3, {}, head_ms=0.5, head_bytes=500_000), *policies))
    return replace(problem, apps=(cam, *others))


def leaving(shares: dict[int, float], drop: float = 0.0, cap: int | None = None) -> PolicyOption:
    """One of cam's policies: 0.5 ms (1 ms at p95) and 0.5 MB a head."""
    return policy_option(3, shares, drop, cap=cap, head_ms=0.5, head_bytes=500_000)


def test_lanes_are_shared_by_the_expected_path_and_latency_is_that_of_the_worst_one() -> None:
    """60% leave behind the first of three blocks of 4 ms: 4.5 + 0.4 x 8 ms on average, 12.5 ms where they do not."""
    plan = solve(with_exits(two_apps(utilisation_cap=0.2), leaving({0: 0.6}, 0.001)), HIGHS, 1)
    cam, door = plan.apps
    assert cam.route.policy.steps == (("exit0", 0.5), ("final", 0.0))
    assert (cam.expected_ms, cam.latency_ms) == pytest.approx((7.7, 12.5))
    # Own blocks and head at p95, all of door, which is as urgent, and the overhead.
    assert cam.latency_p95_ms == pytest.approx(13.2 + 1.0 + 12.0 + 0.3)
    assert (cam.exit_shares, cam.route.heads) == ((0.6, 0.4), ("head0", "head1"))
    assert cam.utilisation == pytest.approx(0.077)
    assert (door.latency_ms, plan.utilisation) == pytest.approx((12.0, 0.197))
    assert (plan.broken, cam.accuracy) == ((), pytest.approx(0.899))


def test_others_wait_for_the_worst_path() -> None:
    """cam is the more urgent one: door waits for 12.5 ms of it, however many frames leave early."""
    problem = with_budgets(with_exits(two_apps(), leaving({0: 0.9})), cam=50.0, door=60.0)
    cam, door = solve(problem, HIGHS, 1).apps
    assert cam.expected_ms < 6.0
    assert door.latency_p95_ms == pytest.approx(13.2 + 0.3 + 12.5)


def test_a_head_counts_with_its_block_in_the_way_of_an_urgent_app() -> None:
    """door's budget leaves 4.2 ms for a block of cam: the 4.5 ms of block and head do not fit, so a block shrinks."""
    cam = replace(two_apps().apps[0], policies=(leaving({1: 0.5}, 0.001),))
    door = app_options("door", graded("door", variants=1), budget_ms=13.2 + 0.3 + 4.2)
    plan = solve(Problem((cam, door), ROOMY), HIGHS, 1)
    assert plan.apps[0].block_ms == (4.0, 3.0, 4.0)
    assert plan.apps[1].latency_p95_ms == pytest.approx(13.2 + 0.3 + 4.0)


def test_a_budget_below_the_full_depth_caps_it_and_frees_the_memory_behind() -> None:
    """The smallest variants of all three blocks take 7.2 ms at p95; the first two originals with a head 9.8 ms."""
    one_app = replace(two_apps(), apps=two_apps().apps[:1])
    problem = with_budgets(with_exits(one_app, leaving({}, 0.02, cap=1)), cam=10.2)
    plan = solve(problem, HIGHS, 1)
    (cam,) = plan.apps
    assert cam.route.variants == ("cam0v0", "cam1v0")
    assert (cam.route.policy.last, cam.exit_shares) == ("exit1", (1.0,))
    assert len(cam.block_ms) == len(cam.route.digests) == 2
    assert (cam.expected_ms, cam.latency_ms) == pytest.approx((8.5, 8.5))
    assert (cam.accuracy, plan.broken) == (pytest.approx(0.88), ())
    # Two blocks of 4 MB and both heads up to there; the third block is gone.
    assert plan.memory_bytes == cam.memory_bytes == 9_000_000


def test_memory_counts_heads_once_over_all_apps() -> None:
    cam, door = two_apps().apps
    policies = (policy_option(3, {}, head_bytes=500_000),)
    shared = Problem((replace(cam, policies=policies), replace(door, policies=policies)), ROOMY)
    assert solve(shared, HIGHS, 1).memory_bytes == 25_000_000
    tight = replace(shared, limits=replace(ROOMY, memory_bytes=25_000_000))
    assert solve(tight, HIGHS, 1).weighted_accuracy == 1.0
    tighter = solve(replace(shared, limits=replace(ROOMY, memory_bytes=24_900_000)), HIGHS, 1)
    assert (tighter.weighted_accuracy < 1.0, tighter.broken) == (True, ())


def test_a_policy_that_loses_nothing_is_taken_even_on_an_idle_board() -> None:
    few, many = leaving({1: 0.2}), leaving({1: 0.7})
    plan = solve(with_exits(two_apps(), few, many), NoSolver(), 1)
    assert plan.status == "optimal", "what a solver raises leaves the greedy plan"
    assert (plan.apps[0].exit_shares, plan.weighted_accuracy) == ((0.7, pytest.approx(0.3)), 1.0)


def test_among_equals_in_accuracy_the_solver_takes_the_cheaper_path_too() -> None:
    """door has to save, which cam's policies have nothing to do with."""
    problem = with_budgets(with_exits(two_apps(), leaving({1: 0.2}), leaving({1: 0.7})), cam=100.0, door=15.0)
    plan = solve(problem, HIGHS, 1)
    assert "budget:door" in plan.binding
    assert plan.apps[0].exit_shares[0] == 0.7


def test_exits_whose_heads_cost_more_than_they_save_are_left_alone() -> None:
    plan = solve(with_exits(two_apps(), leaving({0: 0.01, 1: 0.01})), HIGHS, 1)
    assert plan.apps[0].route.policy == NO_EXITS
    assert plan.apps[0].expected_ms == plan.apps[0].latency_ms


def test_a_floor_forbids_a_policy_that_loses_too_much() -> None:
    problem = with_exits(two_apps(utilisation_cap=0.21), leaving({0: 0.6}, 0.02))
    cam, door = problem.apps
    strict = replace(cam, app=replace(cam.app, accuracy_floor=0.885))
    plan = solve(replace(problem, apps=(strict, replace(door, app=replace(door.app, accuracy_floor=0.9)))), HIGHS, 1)
    assert plan.apps[0].accuracy == pytest.approx(0.89)
    assert [(e.limit, e.share) for e in plan.broken] == [("utilisation", pytest.approx(0.23 / 0.21 - 1.0))]
    assert {"floor:cam", "floor:door"} <= set(plan.binding)


def test_rates_that_were_seen_change_the_plan() -> None:
    """Fewer frames leave early than forecast: cam alone no longer keeps the cap, so blocks shrink as well."""
    hopeful = solve(with_exits(two_apps(utilisation_cap=0.2), leaving({0: 0.6}, 0.001)), HIGHS, 1)
    sobered = solve(with_exits(two_apps(utilisation_cap=0.2), leaving({0: 0.1}, 0.001)), HIGHS, 1)
    assert hopeful.weighted_accuracy > sobered.weighted_accuracy
    assert (hopeful.broken, sobered.broken) == ((), ())
    assert sobered.utilisation <= 0.2 + 1e-9


def test_an_overloaded_board_gets_the_policies_that_take_least() -> None:
    problem = with_exits(two_apps(utilisation_cap=0.05), leaving({0: 0.5}, 0.01), leaving({}, 0.05, cap=0))
    plan = solve(problem, HIGHS, 1)
    assert plan.apps[0].route.variants == ("cam0v2",)
    assert [e.limit for e in plan.broken] == ["utilisation"]


def test_predicting_a_policy_that_is_not_offered_names_those_that_are() -> None:
    problem = with_exits(two_apps(), leaving({0: 0.6}))
    routes = {a.app_id: a.route for a in solve(problem, HIGHS, 1).apps}
    with pytest.raises(KeyError, match=r"'cam' has the exit policies final; the route wants exit0>=0\.5 final"):
        predict(two_apps(), routes)
    assert predict(problem, routes).apps[0].route == routes["cam"]
