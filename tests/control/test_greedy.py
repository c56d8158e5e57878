"""The plan without a solver keeps what it can, near the optimum, and is always the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from schedulerd.control.bounds import least_excesses
from schedulerd.control.choice import Choice, Step, choose, excess_of
from schedulerd.control.greedy import greedy
from schedulerd.control.optimizer import solve
from schedulerd.control.predict import plan_of
from schedulerd.control.problem import AppOptions, Problem
from schedulerd.control.recheck import violations
from schedulerd.control.solvers import Highs
from tests.control.problems import (
    ROOMY,
    app_options,
    graded,
    option,
    policy_option,
    random_problem,
    with_arenas,
    with_policies,
)


def test_without_pressure_everybody_runs_the_original() -> None:
    problem = Problem((app_options("cam", graded("cam")), app_options("door", graded("door"))), ROOMY)
    assert greedy(problem).picks == ((0, 0, 0), (0, 0, 0))


def test_the_step_that_saves_most_per_accuracy_is_taken() -> None:
    """One ms is wanted. `cheap` gives it for half the accuracy that `dear` takes."""
    blocks = (
        (option("a", 4.0, 0.0), option("dear", 3.0, 0.02)),
        (option("b", 4.0, 0.0), option("cheap", 3.0, 0.01)),
    )
    choice = greedy(Problem((app_options("cam", blocks, budget_ms=7.3),), ROOMY))
    assert [o.variant for o in choice.options(0)] == ["a", "cheap"]


def test_a_step_that_turned_out_unnecessary_is_taken_back() -> None:
    """`small` saves best per accuracy but not enough; `tiny` has to come anyway and then suffices alone."""
    blocks = (
        (option("a", 4.0, 0.0), option("small", 3.0, 0.001)),
        (option("b", 9.0, 0.0), option("tiny", 4.0, 0.02)),
    )
    choice = greedy(Problem((app_options("cam", blocks, budget_ms=8.3),), ROOMY))
    assert [o.variant for o in choice.options(0)] == ["a", "tiny"]


def test_another_apps_longest_block_is_shortened_where_that_is_cheaper() -> None:
    """cam misses by 0.9 ms. Its own step would do, but door's long block, which it waits for, costs less to shorten."""
    cam = app_options("cam", ((option("own", 2.0, 0.0), option("poor", 1.0, 0.2)),), budget_ms=9.4, priority=9)
    door = app_options("door", ((option("long", 8.0, 0.0), option("short", 2.0, 0.05)), (option("tail", 1.0, 0.0),)))
    choice = greedy(Problem((cam, door), ROOMY))
    assert [o.variant for o in choice.options(0)] == ["own"]
    assert [o.variant for o in choice.options(1)] == ["short", "tail"]
    assert choice.broken() == ()


def test_an_urgent_apps_whole_route_is_shortened_where_that_is_cheaper() -> None:
    """cam misses by 0.9 ms and waits for all of the urgent door; a block that is not door's longest costs least."""
    fixed = (option("fixed", 2.0, 0.0),)
    cam = app_options("cam", ((option("own", 2.0, 0.0), option("poor", 1.0, 0.2)), fixed), budget_ms=12.4, priority=9)
    blocks = ((option("long", 6.0, 0.0),), (option("tail", 3.0, 0.0), option("short", 1.0, 0.05)))
    choice = greedy(Problem((cam, app_options("door", blocks, budget_ms=11.5)), ROOMY))
    assert [o.variant for o in choice.options(0)] == ["own", "fixed"]
    assert [o.variant for o in choice.options(1)] == ["long", "short"]
    assert choice.broken() == ()


def test_removing_one_user_of_a_shared_blob_frees_nothing() -> None:
    """Only the step that gives up a blob of its own helps under the limit on memory."""
    shared = option("shared", 4.0, 0.0, memory_bytes=5_000_000, digest="same")
    own = option("own", 4.0, 0.0, memory_bytes=4_000_000)
    small = option("small", 3.0, 0.02, memory_bytes=1_000_000)
    cam = app_options("cam", ((shared, option("small-cam", 3.0, 0.001, memory_bytes=1_000_000)), (own, small)))
    door = app_options("door", ((shared,),))
    choice = greedy(Problem((cam, door), replace(ROOMY, memory_bytes=6_500_000)))
    assert [o.variant for o in choice.options(0)] == ["shared", "small"]
    assert choice.memory_bytes == 6_000_000


def test_smaller_activations_help_only_where_nobody_elses_are_larger() -> None:
    """2 MB are wanted: cam's smaller activations would cost less accuracy, but door's are the larger ones."""
    cam = (option("cam", 2.0, 0.0, arena_bytes=6_000_000), option("cam-less", 2.0, 0.001, arena_bytes=1_000_000))
    door = (option("door", 2.0, 0.0, arena_bytes=9_000_000), option("door-less", 2.0, 0.02, arena_bytes=5_000_000))
    apps = (app_options("cam", (cam,)), app_options("door", (door,)))
    choice = greedy(Problem(apps, replace(ROOMY, memory_bytes=9_000_000)))
    assert [o.variant for p in range(2) for o in choice.options(p)] == ["cam", "door-less"]
    assert choice.memory_bytes == 8_000_000


def test_the_floor_is_kept_although_the_budget_is_missed() -> None:
    app = app_options("cam", graded("cam"), budget_ms=5.0, floor=0.88)
    choice = greedy(Problem((app,), ROOMY))
    assert plan_of(choice).apps[0].accuracy == pytest.approx(0.88)
    assert [e.limit for e in choice.broken()] == ["budget:cam"]


def test_a_policy_that_leaves_early_is_a_step_like_any_other() -> None:
    """2.4 ms on average are to go. The exit behind the first block saves 5 ms for less than the option that saves 3."""
    blocks = ((option("a", 4.0, 0.0), option("small", 1.0, 0.02)), (option("b", 8.0, 0.0),))
    policies = (policy_option(2, {}), policy_option(2, {0: 0.625}, 0.01))
    app = app_options("cam", blocks, rate_hz=100.0, policies=policies)
    choice = greedy(Problem((app,), replace(ROOMY, utilisation_cap=0.96)))
    assert [o.variant for o in choice.options(0)] == ["a", "b"]
    assert choice.policy(0) == policies[1]
    assert (choice.costs[0].expected_ms, choice.costs[0].median_ms) == pytest.approx((7.0, 12.0))
    assert choice.broken() == ()


def test_a_budget_that_the_exit_alone_meets_caps_the_depth() -> None:
    """Leaving early shortens no worst path: only the cap helps, and the blocks behind it take no memory."""
    blocks = ((option("a", 4.0, 0.0),), (option("b", 8.0, 0.0),))
    policies = (
        policy_option(2, {}, head_bytes=1000),
        policy_option(2, {0: 0.9}, 0.01, head_ms=0.1, head_bytes=1000),
        policy_option(2, {}, 0.05, cap=0, head_ms=0.1, head_bytes=1000),
    )
    choice = greedy(Problem((app_options("cam", blocks, budget_ms=6.0, policies=policies),), ROOMY))
    assert (choice.policies, [o.variant for o in choice.options(0)]) == ((2,), ["a"])
    assert choice.memory_bytes == 1_001_000
    assert choice.broken() == ()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("policies", [1, 4])
def test_greedy_is_honest_repeatable_and_never_better_than_the_optimum(seed: int, policies: int) -> None:
    problem = with_policies(random_problem(seed, tightness=(seed % 11) / 10), seed, policies)
    problem = with_arenas(problem, seed) if seed % 2 else problem
    choice, best = greedy(problem), solve(problem, Highs(10.0), 1)
    assert greedy(problem) == choice
    assert violations(problem, plan_of(choice)) == ()
    if not choice.broken():
        assert best.broken == ()
        assert plan_of(choice).weighted_accuracy <= best.weighted_accuracy + 2e-5


@pytest.mark.parametrize("policies", [1, 4])
def test_greedy_comes_close_where_it_keeps_every_limit(policies: int) -> None:
    """Over many problems it loses little accuracy against the optimum, and finds most that can be kept."""
    lost, kept, keepable = [], 0, 0
    for seed in range(60):
        problem = with_policies(random_problem(seed, tightness=0.35), seed, policies)
        choice, best = greedy(problem), solve(problem, Highs(10.0), 1)
        keepable += not best.broken
        if not choice.broken():
            kept += 1
            lost.append(best.weighted_accuracy - plan_of(choice).weighted_accuracy)
    assert kept >= 0.9 * keepable
    assert sum(lost) / len(lost) < 0.005


def test_a_step_knows_what_the_whole_choice_would_know() -> None:
    """What `step` updates bit by bit is what `choose` works out from nothing, shared blobs included."""
    problem = with_arenas(with_policies(random_problem(7, apps=3, tightness=0.5), 7, 4), 7)
    choice = choose(problem, [[0, 0, 0]] * 3)
    blocks = [(0, 1, 2), (2, 0, 1), (0, 1, 1), (1, 2, 2), (2, 0, 0), (0, 0, 2)]
    policies = [(position, None, number) for position in (0, 2) for number in (3, 1, 2)]
    depths = set()
    for step in itertools.starmap(Step, itertools.chain(*zip(policies, blocks, strict=True))):
        cost = choice.cost_after(step)
        memory_bytes = choice.memory_after(step, cost)
        choice = choice.step(step)
        fresh = choose(problem, choice.picks, choice.policies)
        assert choice.memory_bytes == fresh.memory_bytes == memory_bytes
        assert {digest: count for digest, count in choice.users.items() if count} == fresh.users
        assert choice.costs == fresh.costs
        assert choice.arenas_elsewhere == fresh.arenas_elsewhere
        assert choice.costs[step.position] == cost
        assert choice.excesses == fresh.excesses
        depths.add(choice.policy(step.position).depth)
    assert len(depths) > 1


@pytest.mark.parametrize("seed", range(30))
def test_nothing_undercuts_the_bounds(seed: int) -> None:
    problem = with_policies(random_problem(seed, blocks=2, tightness=0.5 + seed / 60), seed, 3)
    problem = with_arenas(problem, seed) if seed % 2 else problem
    least = least_excesses(problem)
    reached = choose_every(problem)
    for rank, share in least.items():
        assert share <= min(excess_of(choice, rank) for choice in reached) + 1e-9


def choose_every(problem: Problem) -> list[Choice]:
    """All choices there are."""
    ways = [
        [(number, picks) for number, policy in enumerate(app.policies) for picks in all_picks(app, policy.depth)]
        for app in problem.apps
    ]
    return [
        choose(problem, [picks for _, picks in chosen], [number for number, _ in chosen])
        for chosen in itertools.product(*ways)
    ]


def all_picks(app: AppOptions, depth: int) -> Iterator[tuple[int, ...]]:
    """Every pick of every block within the depth, the first one behind it."""
    sizes = [len(block) if b < depth else 1 for b, block in enumerate(app.blocks)]
    return itertools.product(*map(range, sizes))
