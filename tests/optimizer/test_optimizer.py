"""Plans equal exhaustive search, give up limits in order, and stand on something when the solver fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pulp
import pytest

from blockstore.exits import NO_EXITS
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Head, Limits, Option, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Answer, Cbc, Highs, Solver
from schedulerd.optimizer.validate import BadProblem
from schedulerd.plan import Plan, Route
from tests.optimizer.brute import exhaustive, reached
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    graded,
    option,
    policy_option,
    random_problem,
    two_apps,
    with_arenas,
    with_budgets,
    with_policies,
)

HIGHS = Highs(10.0)


class StubSolver:
    """A `Solver` that answers without solving; `assign` may set variables."""

    time_limit_s = 1.0

    def __init__(self, answer: Answer, assign: float | None = None) -> None:
        self._answer = answer
        self._assign = assign

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        for variable in program.variables() if self._assign is not None else []:
            variable.varValue = self._assign
        return self._answer


class RaisingSolver:
    """A `Solver` that breaks its promise not to raise."""

    time_limit_s = 1.0

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        raise RuntimeError("out of order")


class HurriedSolver:
    """HiGHS, whose proof is said to be missing: what a timed-out incumbent looks like."""

    time_limit_s = 10.0

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        answer = HIGHS.run(program, time_limit_s, feasible=feasible)
        return replace(answer, outcome="time_limit") if answer.outcome == "optimal" else answer


def assert_is_the_best(problem: Problem) -> None:
    """Its plan exceeds and loses what exhaustive search does, says that it is optimal, and holds."""
    plan = solve(problem, HIGHS, 1)
    excesses, _, loss = reached(problem, plan)
    best_excesses, _, best_loss = exhaustive(problem)
    assert plan.status == "optimal"
    assert excesses == pytest.approx(best_excesses, abs=3e-5)
    assert loss == pytest.approx(best_loss, abs=3e-5)
    assert violations(problem, plan) == ()


@pytest.mark.parametrize("seed", range(33))
def test_a_plan_equals_exhaustive_search_over_every_combination(seed: int) -> None:
    problem = random_problem(seed, tightness=(seed % 11) / 10)
    assert_is_the_best(problem)


@pytest.mark.parametrize("seed", range(12))
def test_three_apps_equal_exhaustive_search_too(seed: int) -> None:
    problem = random_problem(seed, apps=3, blocks=2, variants=3, tightness=(seed % 4) / 4)
    assert_is_the_best(problem)


@pytest.mark.parametrize("seed", range(16))
def test_with_exits_it_equals_exhaustive_search_over_every_policy_and_combination(seed: int) -> None:
    plain = random_problem(seed, blocks=3, variants=2 + seed % 2, tightness=(seed % 11) / 10)
    problem = with_policies(plain, seed, 4 - seed % 2)
    assert_is_the_best(problem)


@pytest.mark.parametrize("policies", [0, 3])
@pytest.mark.parametrize("seed", range(16))
def test_with_activations_it_equals_exhaustive_search(seed: int, policies: int) -> None:
    plain = random_problem(seed, blocks=3 - policies // 3, tightness=(seed % 11) / 10)
    problem = with_arenas(with_policies(plain, seed, policies) if policies else plain, seed)
    assert_is_the_best(problem)


def test_an_urgent_app_takes_less_time_where_that_costs_less_than_the_one_that_waits_for_it() -> None:
    """cam waits for all of door: of 13.2 + 0.3 + 12 ms, 2 have to go, and door is of the lower priority."""
    plan = solve(with_budgets(two_apps(), cam=23.5, door=20.0), HIGHS, 1)
    assert [a.latency_ms for a in plan.apps] == pytest.approx([12.0, 10.0])
    assert (plan.broken, "budget:cam" in plan.binding) == ((), True)


def test_an_app_waits_for_the_longest_block_of_all_the_less_urgent_ones() -> None:
    """cam's budget leaves 3 ms for waiting: every block of both others has to come down to that."""
    cam = app_options("cam", ((option("only", 5.0, 0.0),),), budget_ms=8.3)
    problem = Problem((cam, app_options("door", graded("door")), app_options("gate", graded("gate"))), ROOMY)
    plan = solve(problem, HIGHS, 1)
    assert plan.status == "optimal"
    assert [a.block_ms for a in plan.apps] == [(5.0,), (3.0, 3.0, 3.0), (3.0, 3.0, 3.0)]


@pytest.mark.parametrize("seed", [3, 14, 25])
@pytest.mark.parametrize("policies", [1, 4])
def test_both_solvers_reach_the_same_optimum(seed: int, policies: int) -> None:
    problem = with_policies(random_problem(seed, tightness=(seed % 11) / 10), seed, policies)
    by_highs, by_cbc = solve(problem, HIGHS, 1), solve(problem, Cbc(10.0), 1)
    assert by_cbc.status == by_highs.status == "optimal"
    assert by_cbc.weighted_accuracy == pytest.approx(by_highs.weighted_accuracy, abs=1e-5)


def test_a_roomy_board_runs_the_originals_without_asking_a_solver() -> None:
    plan = solve(two_apps(), RaisingSolver(), 4)
    assert {a.route.variants for a in plan.apps} == {
        ("cam0v0", "cam1v0", "cam2v0"),
        ("door0v0", "door1v0", "door2v0"),
    }
    assert (plan.number, plan.status, plan.gap, plan.binding, plan.broken) == (4, "optimal", 0.0, (), ())
    assert plan.weighted_accuracy == 1.0


def test_no_apps_is_a_plan_too() -> None:
    assert solve(Problem((), ROOMY), HIGHS, 2).apps == ()


def test_a_budget_includes_overhead_and_one_block_of_another_app() -> None:
    # cam alone takes 13.2 ms at p95, waits 4 ms for a block of door, and 0.3 ms is overhead: 17.5 ms.
    met = solve(with_budgets(two_apps(), cam=17.5), HIGHS, 1).app("cam")
    assert met is not None
    assert met.latency_p95_ms == pytest.approx(17.5)
    assert met.accuracy == pytest.approx(0.9)
    short = solve(with_budgets(two_apps(), cam=17.4), HIGHS, 1)
    assert short.weighted_accuracy < 1.0
    assert short.broken == ()
    assert "budget:cam" in short.binding


def test_equal_blobs_of_two_apps_are_paid_for_once() -> None:
    def chain(app_id: str) -> tuple[tuple[Option, ...], ...]:
        shared = option("whole", 4.0, 0.0, memory_bytes=5_000_000, digest="same")
        return ((shared, option(f"{app_id}-small", 3.0, 0.05, memory_bytes=2_000_000)),)

    apps = (app_options("cam", chain("cam")), app_options("door", chain("door")))
    plan = solve(Problem(apps, replace(ROOMY, memory_bytes=5_000_000)), HIGHS, 1)
    assert [a.route.variants for a in plan.apps] == [("whole",), ("whole",)]
    assert plan.memory_bytes == 5_000_000


@pytest.mark.parametrize(("lanes", "memory_bytes"), [(1, 12_000_000), (2, 20_000_000)])
def test_activations_are_paid_for_once_a_lane_by_the_block_that_needs_most(lanes: int, memory_bytes: int) -> None:
    """Two blocks of each app and 8, 7, 6 and 5 MB of activations: only the most of all these counts."""
    cam = tuple((option(f"cam{b}", 1.0, 0.0, arena_bytes=(8 - b) * 10**6),) for b in range(2))
    door = tuple((option(f"door{b}", 1.0, 0.0, arena_bytes=(6 - b) * 10**6),) for b in range(2))
    apps = (app_options("cam", cam), app_options("door", door))
    plan = solve(Problem(apps, replace(ROOMY, lanes=lanes, memory_bytes=memory_bytes)), HIGHS, 1)
    assert (plan.memory_bytes, plan.broken) == (memory_bytes, ())
    assert [a.memory_bytes for a in plan.apps] == [2_000_000 + lanes * 8_000_000, 2_000_000 + lanes * 6_000_000]


def test_a_variant_with_larger_weights_is_taken_for_its_smaller_activations() -> None:
    """Under 8 MB in all `narrow` fits beside what is loaded anyway, `wide` does not, though its weights are smaller."""
    block = (
        option("wide", 2.0, 0.0, memory_bytes=1_000_000, arena_bytes=8_000_000),
        option("narrow", 2.0, 0.01, memory_bytes=2_000_000, arena_bytes=5_000_000),
    )
    problem = Problem((app_options("cam", (block,)),), replace(ROOMY, memory_bytes=8_000_000))
    plan = solve(problem, HIGHS, 1)
    assert plan.apps[0].route.variants == ("narrow",)
    assert (plan.memory_bytes, plan.binding) == (7_000_000, ("memory",))


def test_a_head_needs_room_for_its_activations_too() -> None:
    """The network fits without its exit's head, whose 5 MB of activations are more than those of any block."""
    policy = policy_option(2, {0: 0.5}, head_ms=0.1)
    wide = replace(policy, heads=(replace(policy.heads[0], arena_bytes=5_000_000),))
    blocks = tuple((option(f"b{b}", 2.0, 0.0, arena_bytes=3_000_000),) for b in range(2))
    plan = solve(Problem((app_options("cam", blocks, policies=(wide,)),), ROOMY), HIGHS, 1)
    assert plan.memory_bytes == 7_000_000


def test_a_less_accurate_option_stays_when_its_blob_is_resident_anyway() -> None:
    """`thin` is smaller than the shared blob, but the shared one is there already and costs nothing."""
    must = (option("only", 2.0, 0.0, memory_bytes=6_000_000, digest="same"),)
    pick = (
        option("best", 2.0, 0.0, memory_bytes=8_000_000),
        option("reuse", 2.5, 0.02, memory_bytes=6_000_000, digest="same"),
        option("thin", 2.0, 0.01, memory_bytes=3_000_000),
    )
    problem = Problem((app_options("cam", (must, pick)),), replace(ROOMY, memory_bytes=7_000_000))
    plan = solve(problem, HIGHS, 1)
    assert plan.apps[0].route.variants == ("only", "reuse")
    assert (plan.memory_bytes, plan.broken) == (6_000_000, ())


def test_the_cap_on_utilisation_counts_rates_and_lanes() -> None:
    # At 10 Hz each, 12 ms of cam and of door keep one lane 24% busy.
    assert solve(two_apps(utilisation_cap=0.24), HIGHS, 1).weighted_accuracy == 1.0
    capped = solve(two_apps(utilisation_cap=0.2), HIGHS, 1)
    assert capped.utilisation == pytest.approx(0.2)
    assert "utilisation" in capped.binding
    # The app of low priority pays: 4 ms less for it would be 0.04, which is all that is wanted.
    cam, door = capped.app("cam"), capped.app("door")
    assert cam is not None
    assert door is not None
    assert cam.accuracy == pytest.approx(0.9)
    assert door.accuracy == pytest.approx(0.86)
    assert solve(two_apps(utilisation_cap=0.12, lanes=2), HIGHS, 1).weighted_accuracy == 1.0


def test_an_accuracy_floor_stands_while_others_pay() -> None:
    problem = two_apps(utilisation_cap=0.2)
    floored = replace(problem.apps[1], app=replace(problem.apps[1].app, accuracy_floor=0.89))
    plan = solve(replace(problem, apps=(problem.apps[0], floored)), HIGHS, 1)
    assert [a.accuracy for a in plan.apps] == pytest.approx([0.87, 0.89])
    assert "floor:door" in plan.binding


def test_a_floor_above_the_original_is_lowered_to_it_and_named() -> None:
    problem = with_budgets(two_apps(), cam=9.0)
    strict = replace(problem.apps[0], app=replace(problem.apps[0].app, accuracy_floor=0.97))
    plan = solve(replace(problem, apps=(strict, problem.apps[1])), HIGHS, 1)
    assert plan.apps[0].accuracy == pytest.approx(0.9)
    assert plan.apps[0].miss_ms > 0
    assert {"floor:cam", "budget:cam"} <= set(plan.binding)
    assert plan.status == "optimal"
    assert [e.limit for e in plan.broken] == ["budget:cam"]


def test_no_memory_at_all_still_gives_the_smallest_routes() -> None:
    plan = solve(two_apps(memory_bytes=0), HIGHS, 1)
    assert (plan.memory_bytes, plan.status) == (12_000_000, "optimal")
    assert [e.limit for e in plan.broken] == ["memory"]


def test_an_impossible_budget_gets_the_fastest_route_and_the_miss() -> None:
    plan = solve(with_budgets(two_apps(), cam=5.0), HIGHS, 1)
    cam, door = plan.apps
    assert cam.route.variants == ("cam0v2", "cam1v2", "cam2v2")
    # 7.2 ms of its own, 0.3 ms overhead, and door keeps to blocks of 2 ms for cam's sake.
    assert cam.latency_p95_ms == pytest.approx(9.5)
    assert cam.miss_ms == pytest.approx(4.5)
    assert door.miss_ms == 0.0
    assert [e.limit for e in plan.broken] == ["budget:cam"]
    assert plan.broken[0].share == pytest.approx(0.9)
    assert plan.status == "optimal"


def test_budgets_of_low_priority_are_given_up_first() -> None:
    """cam's budget is met only while door, which comes first, takes 6 ms in all; door's own cannot be met at all."""
    plan = solve(with_budgets(two_apps(), cam=13.5, door=6.0), HIGHS, 1)
    assert [a.miss_ms for a in plan.apps] == pytest.approx([0.0, 3.5])
    swapped = two_apps()
    swapped = replace(
        swapped, apps=tuple(replace(a, app=replace(a.app, priority=11 - a.app.priority)) for a in swapped.apps)
    )
    assert [e.limit for e in solve(with_budgets(swapped, cam=6.0, door=13.5), HIGHS, 1).broken] == ["budget:cam"]


def test_floors_decide_who_misses_by_priority() -> None:
    """Either app can make room for the other by shorter blocks, but only below the other's wish."""

    def app(app_id: str, priority: int) -> AppOptions:
        block = (option(f"{app_id}-long", 8.0, 0.0), option(f"{app_id}-short", 2.0, 0.1))
        return app_options(app_id, (block,), budget_ms=11.0, priority=priority, floor=0.85)

    plan = solve(Problem((app("cam", 9), app("door", 2)), ROOMY), HIGHS, 1)
    # Both floors forbid the short blocks: both miss, and nothing can be done for either.
    assert [a.miss_ms for a in plan.apps] == pytest.approx([5.3, 5.3])
    assert [e.limit for e in plan.broken] == ["budget:cam", "budget:door"]
    assert {"floor:cam", "floor:door"} <= set(plan.binding)


def test_memory_that_nothing_fits_is_exceeded_least_and_said() -> None:
    plan = solve(two_apps(memory_bytes=10_000_000), HIGHS, 1)
    assert plan.memory_bytes == 12_000_000
    assert plan.broken[0].limit == "memory"
    assert plan.broken[0].share == pytest.approx(0.2)


def test_memory_comes_before_budgets() -> None:
    """A large fast block against a small slow one: the limit on memory stands and the budget is missed."""
    block = (
        option("large", 2.0, 0.0, memory_bytes=9_000_000),
        option("small", 6.0, 0.0, memory_bytes=1_000_000),
    )
    problem = Problem((app_options("cam", (block,), budget_ms=3.0),), replace(ROOMY, memory_bytes=5_000_000))
    plan = solve(problem, HIGHS, 1)
    assert plan.apps[0].route.variants == ("small",)
    assert [e.limit for e in plan.broken] == ["budget:cam"]


def test_an_overloaded_board_gets_the_fastest_routes() -> None:
    """The cap cannot be kept, and nobody dawdles."""
    plan = solve(two_apps(utilisation_cap=0.1), HIGHS, 1)
    assert [a.latency_ms for a in plan.apps] == pytest.approx([6.0, 6.0])
    assert [e.limit for e in plan.broken] == ["utilisation"]
    assert plan.utilisation == pytest.approx(0.12)


@pytest.mark.parametrize("seed", [7, 9, 15])
def test_ten_equal_problems_have_ten_equal_plans(seed: int) -> None:
    plans = {solve(random_problem(seed, tightness=0.6), HIGHS, 1) for _ in range(10)}
    assert len(plans) == 1


def contested(seed: int) -> Problem:
    """A problem whose relaxation leaves a gap, so that the solver is asked."""
    return random_problem(seed, apps=2 + seed % 2, tightness=(seed % 11) / 10)


KEEPABLE, OVERLOADED = 1018, 658
"""Seeds for `contested`: one where every limit can be kept, and one where several ranks have to be given up."""


def routes(plan: Plan) -> list[Route]:
    return [app.route for app in plan.apps]


@pytest.mark.parametrize("seed", [KEEPABLE, OVERLOADED])
@pytest.mark.parametrize(
    ("solver", "said"),
    [
        (StubSolver(Answer("failed", reason="no solution: Not Solved")), "Not Solved"),
        (RaisingSolver(), "RuntimeError: out of order"),
    ],
)
def test_without_an_answer_the_plan_that_was_found_stands_and_says_so(solver: Solver, said: str, seed: int) -> None:
    problem = contested(seed)
    plan, best = solve(problem, solver, 3), solve(problem, HIGHS, 3)
    assert (plan.number, plan.status) == (3, "greedy")
    assert said in plan.note
    assert violations(problem, plan) == ()
    assert routes(plan) != routes(best), "the solver would have had something to say"
    assert [e.limit for e in plan.broken] == [e.limit for e in best.broken]


def test_what_is_proven_without_an_answer_bounds_what_the_answer_would_have_been() -> None:
    problem = contested(KEEPABLE)
    plan, best = solve(problem, RaisingSolver(), 1), solve(problem, HIGHS, 1)
    assert plan.gap is not None
    assert plan.weighted_accuracy < best.weighted_accuracy <= plan.weighted_accuracy * (1.0 + plan.gap) + 1e-9


@pytest.mark.parametrize("seed", [KEEPABLE, OVERLOADED])
def test_an_answer_that_breaks_a_limit_is_not_applied(seed: int) -> None:
    """All variables at 0 reads as the first route everywhere, which does not fit."""
    problem = contested(seed)
    plan = solve(problem, StubSolver(Answer("optimal", bound=0.0), assign=0.0), 1)
    assert routes(plan) == routes(solve(problem, RaisingSolver(), 1))
    assert plan.status != "optimal"
    assert violations(problem, plan) == ()


@pytest.mark.parametrize("seed", [KEEPABLE, OVERLOADED])
def test_a_false_infeasible_leaves_the_plan_that_was_found(seed: int) -> None:
    problem = contested(seed)
    plan = solve(problem, StubSolver(Answer("infeasible")), 1)
    assert (plan.status, plan.note) == ("greedy", "the solver contradicts itself")
    assert routes(plan) == routes(solve(problem, RaisingSolver(), 1))


def test_an_incumbent_without_proof_is_used_and_called_so() -> None:
    problem = contested(KEEPABLE)
    plan, best = solve(problem, HurriedSolver(), 1), solve(problem, HIGHS, 1)
    assert (plan.status, plan.note) == ("time_limit", "")
    assert routes(plan) == routes(best) != routes(solve(problem, RaisingSolver(), 1))
    assert plan.gap is not None
    assert plan.gap > 0.01, "what the relaxation proves is all there is"


def test_an_incumbent_that_the_relaxation_proves_good_is_called_bounded() -> None:
    problem = contested(436)
    plan = solve(problem, HurriedSolver(), 1)
    assert plan.status == "bounded"
    assert plan.gap is not None
    assert plan.gap <= 0.01
    assert routes(plan) == routes(solve(problem, HIGHS, 1)) != routes(solve(problem, RaisingSolver(), 1))


class ImpatientSolver:
    """HiGHS for the first programs; then the time is up."""

    time_limit_s = 10.0

    def __init__(self, programs: int) -> None:
        self._left = programs

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        self._left -= 1
        if self._left < 0:
            return Answer("failed", reason="time is up")
        return HIGHS.run(program, time_limit_s, feasible=feasible)


def test_what_the_first_stages_reached_stands_when_a_later_one_fails() -> None:
    """The search breaks one limit further than it has to; the first program mends that, and no later one is solved."""
    problem = contested(OVERLOADED)
    none, first, all_ = (solve(problem, solver, 1) for solver in (RaisingSolver(), ImpatientSolver(1), HIGHS))
    assert (first.status, first.gap, first.note) == ("time_limit", None, "time is up")
    assert none.broken[0].limit == first.broken[0].limit == all_.broken[0].limit
    assert first.broken[0].share == pytest.approx(all_.broken[0].share)
    assert first.broken[0].share < none.broken[0].share - 0.1
    assert violations(problem, first) == ()


class SlowSolver(ImpatientSolver):
    """HiGHS, whose every answer takes all the time there is."""

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        return replace(super().run(program, time_limit_s, feasible=feasible), seconds=self.time_limit_s)


def test_all_stages_share_one_time_limit() -> None:
    plan = solve(contested(OVERLOADED), SlowSolver(9), 1)
    assert (plan.status, plan.note) == ("time_limit", "no time left")


def test_a_program_that_presolve_called_infeasible_is_solved() -> None:
    """HiGHS 1.15.1 said so of this one; exhaustive search finds choices that keep every limit."""
    problem = random_problem(10603, tightness=0.5)
    plan = solve(problem, HIGHS, 1)
    assert plan.status == "optimal"
    assert plan.broken == ()


@pytest.mark.parametrize("policies", [1, 4])
def test_predicting_a_plans_own_routes_gives_the_plan(policies: int) -> None:
    problem = with_policies(random_problem(15, tightness=0.6), 15, policies)
    plan = solve(problem, HIGHS, 6)
    again = predict(problem, {a.app_id: a.route for a in plan.apps}, 6)
    assert replace(plan, status=again.status, gap=again.gap) == again


def test_predicting_an_unknown_route_names_what_there_is() -> None:
    problem = two_apps()
    routes = {a.app_id: a.route for a in solve(problem, HIGHS, 1).apps}
    with pytest.raises(KeyError, match="no route"):
        predict(problem, {"cam": routes["cam"]})
    with pytest.raises(KeyError, match="block 1 offers cam1v0"):
        predict(problem, {**routes, "cam": replace(routes["cam"], variants=("cam0v0", "lost", "cam2v0"))})
    with pytest.raises(KeyError, match="the route of 'cam' has 2 digests for 3 blocks"):
        predict(problem, {**routes, "cam": replace(routes["cam"], digests=routes["cam"].digests[:2])})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latency_ms": float("nan")}, "latency of 'cam0v0' of block 0 of cam is nan"),
        ({"latency_p95_ms": -1.0}, "-1.0"),
        ({"memory_bytes": -5}, "memory of"),
        ({"arena_bytes": -5}, "arena of"),
        ({"accuracy_drop": float("inf")}, "accuracy drop"),
    ],
)
def test_a_cost_that_is_no_cost_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    cam = two_apps().apps[0]
    broken = replace(cam.blocks[0][0], **change)
    blocks = ((broken, *cam.blocks[0][1:]), *cam.blocks[1:])
    with pytest.raises(BadProblem, match=said):
        solve(Problem((replace(cam, blocks=blocks),), ROOMY), HIGHS, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shares": (0.6,)}, "has shares"),
        ({"shares": (0.6, 0.5)}, "has shares"),
        ({"shares": (float("nan"), 0.4)}, "has shares"),
        ({"reach": (1.0, 0.4)}, "reaches"),
        ({"reach": (1.0, 0.4, 0.5)}, "never rise"),
        ({"reach": (0.0, 0.0, 0.0)}, "fall from 1"),
        ({"heads_ms": (0.5,)}, "has head times"),
        ({"reach": (1.0, 0.4, 0.0), "heads_ms": (0.5, 0.0, 0.5)}, "0 past the depth"),
        ({"reach": (1.0, 0.4, 0.0), "heads_p95_ms": (0.5, 0.0, 0.5)}, "0 past the depth"),
        ({"heads_ms": (-0.5, 0.0, 0.0)}, "latency of a head"),
        ({"accuracy_drop": float("nan")}, "accuracy drop of policy"),
        ({"heads": (Head("head0", -1, 0),)}, "memory of head head0"),
        ({"heads": (Head("head0", 0, -1),)}, "arena of head head0"),
        ({"heads": (Head("head0", 8, 0),)}, "elsewhere the same blob head0 takes 0"),
        ({"heads": (Head("head0", 0, 8),)}, "elsewhere the same blob head0 takes 0"),
        ({"policy": NO_EXITS, "shares": (1.0,)}, "one exit policy twice"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    cam = two_apps().apps[0]
    whole, sound = policy_option(3, {}), policy_option(3, {0: 0.6})
    with pytest.raises(BadProblem, match=said):
        solve(Problem((replace(cam, policies=(whole, replace(sound, **change))),), ROOMY), HIGHS, 1)


def test_a_block_without_variants_and_an_app_twice_are_refused() -> None:
    cam = two_apps().apps[0]
    with pytest.raises(BadProblem, match="block 0 of cam has no variants"):
        solve(Problem((replace(cam, blocks=((),)),), ROOMY), HIGHS, 1)
    with pytest.raises(BadProblem, match="two apps of one name"):
        solve(Problem((cam, cam), ROOMY), HIGHS, 1)
    with pytest.raises(BadProblem, match="budget of cam is 0"):
        solve(Problem((replace(cam, app=replace(cam.app, budget_ms=0.0)),), Limits(1)), HIGHS, 1)
