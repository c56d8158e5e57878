"""The parts of the optimizer's benchmark that its figures hang on: instances, the plain formulation, peers, the gap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.optimizer_gap import gap_of
from benchmarks.optimizer_instances import instance, with_budget
from benchmarks.optimizer_peers import exhaustive, legodnn, whole_models, worse
from benchmarks.optimizer_program import COST_SCALE, PlainProgram, by_block
from benchmarks.optimizer_quality import judged
from benchmarks.optimizer_stores import MANNERS, RANGES, Pool, draw
from schedulerd.optimizer.objectives import MIN_LATENCY
from schedulerd.optimizer.problem import AppOptions, Limits, Problem
from schedulerd.plan import Route
from tests.optimizer.problems import ROOMY, app_options, option


def network(app_id: str, *, budget_ms: float = 1000.0, rate_hz: float = 10.0, floor: float = 0.0) -> AppOptions:
    """Two blocks of three degrees; half as long loses 0.02 and then 0.1, in the second block 0.2 as well."""
    blocks = tuple(
        (
            option("original", 10.0, 0.0, digest=f"{b}-0"),
            option("half", 5.0, small, digest=f"{b}-1"),
            option("quarter", 2.5, large, digest=f"{b}-2"),
        )
        for b, (small, large) in enumerate([(0.02, 0.1), (0.02, 0.2)])
    )
    return app_options(app_id, blocks, budget_ms=budget_ms, rate_hz=rate_hz, floor=floor, full_accuracy=0.8)


def variants(routes: dict[str, Route]) -> dict[str, tuple[str, ...]]:
    """What is taken for each block."""
    return {app_id: route.variants for app_id, route in routes.items()}


def test_equal_seeds_give_equal_instances_and_others_give_others() -> None:
    assert instance(3, 4, 3, 4) == instance(3, 4, 3, 4)
    assert instance(3, 4, 3, 4) != instance(4, 4, 3, 4)


def test_an_instance_has_its_shape_and_apps_that_share_models() -> None:
    problem = instance(0, 10, 3, 4)
    assert [len(app.blocks) for app in problem.apps] == [3] * 10
    assert {len(block) for app in problem.apps for block in app.blocks} == {4}
    assert len({app.app.model for app in problem.apps}) == 8


def test_instances_are_hard_enough_that_the_originals_break_some_limit() -> None:
    for seed in range(10):
        problem = instance(seed, 4, 4, 4)
        originals = {
            a.app.app_id: Route(a.app.model, ("v0",) * 4, tuple(b[0].digest for b in a.blocks)) for a in problem.apps
        }
        assert judged(problem, originals).broken, f"seed {seed}"


def test_a_changed_budget_changes_nothing_else() -> None:
    problem = instance(0, 4, 3, 4)
    changed = with_budget(problem, 2, 0.5)
    assert changed.apps[2].app.budget_ms == problem.apps[2].app.budget_ms / 2
    assert with_budget(changed, 2, 2.0) == problem


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize("seed", range(4))
def test_the_plain_formulation_finds_the_best_of_all_combinations(seed: int, solver: str) -> None:
    problem = instance(seed, 2, 3, 3)
    best = exhaustive(problem)
    program = PlainProgram(problem, by_block(problem))
    program.minimise_cost()
    answer = program.solve(solver, 10.0)
    assert (answer.outcome == "optimal") == (not best.broken)
    if not best.broken:
        plan = judged(problem, program.routes())
        assert not plan.broken
        assert plan.weighted_accuracy == pytest.approx(best.weighted_accuracy)
        assert answer.value == pytest.approx(COST_SCALE * (1 - plan.weighted_accuracy) * priorities(problem))


def priorities(problem: Problem) -> int:
    """Sum over the apps."""
    return sum(app.app.priority for app in problem.apps)


def test_limits_that_nothing_keeps_leave_the_plain_formulation_without_an_answer() -> None:
    problem = Problem((network("a", budget_ms=1.0),), ROOMY)
    program = PlainProgram(problem, by_block(problem))
    program.minimise_cost()
    assert program.solve("highs", 10.0).outcome == "none"


def test_with_slacks_the_least_excess_of_a_budget_is_found() -> None:
    problem = Problem((network("a", budget_ms=4.0),), replace(ROOMY, overhead_ms=0.0))
    program = PlainProgram(problem, by_block(problem), elastic=True)
    program.minimise_excess(["budget:a"])
    assert program.solve("highs", 10.0).value == pytest.approx(5.0 / 4.0 - 1.0)


def test_the_best_plan_has_no_gap_and_a_worse_one_has_what_it_lacks() -> None:
    problem = Problem((network("a", budget_ms=16.0),), ROOMY)
    best = gap_of(problem, exhaustive(problem), 10.0)
    assert best.exact
    assert best.share == pytest.approx(0.0, abs=1e-9)
    quarter = Route("model-a", ("quarter", "original"), ("0-2", "1-0"))
    worse_one = gap_of(problem, judged(problem, {"a": quarter}), 10.0)
    assert worse_one.share == pytest.approx((0.1 - 0.02) / (0.8 - 0.1))


def test_limits_that_are_exceeded_without_need_are_named() -> None:
    problem = Problem((network("a", budget_ms=16.0),), ROOMY)
    original = Route("model-a", ("original", "original"), ("0-0", "1-0"))
    assert gap_of(problem, judged(problem, {"a": original}), 10.0).worse_limits == ("budget:a",)


def test_an_excess_that_cannot_be_helped_is_no_gap() -> None:
    problem = Problem((network("a", budget_ms=4.0),), ROOMY)
    gap = gap_of(problem, exhaustive(problem), 10.0)
    assert gap.worse_limits == ()
    assert gap.share == pytest.approx(0.0, abs=1e-9)


def test_the_peer_decides_for_each_app_alone_with_its_share_of_the_memory() -> None:
    apps = (network("a", budget_ms=16.0), network("b"))
    roomy = Problem(apps, ROOMY)
    assert variants(legodnn(roomy)) == {"a": ("half", "original"), "b": ("original", "original")}
    assert judged(roomy, legodnn(roomy)).broken, "nobody has told the peer that the apps wait for each other"
    # Both apps run the same blobs, of which the whole memory would hold one set for each.
    tight = Problem(apps, Limits(memory_bytes=3 * 10**6, utilisation_cap=1e6))
    fastest = ("quarter", "quarter")
    assert variants(legodnn(tight)) == {"a": fastest, "b": fastest}


def test_the_peer_runs_the_fastest_route_when_a_budget_is_impossible() -> None:
    problem = Problem((network("a", budget_ms=1.0),), ROOMY)
    assert variants(legodnn(problem)) == {"a": ("quarter", "quarter")}


def test_a_peer_that_shares_time_plans_with_its_part_of_the_lane() -> None:
    apps = (network("a", rate_hz=40.0), network("b", rate_hz=40.0))
    problem = Problem(apps, Limits(10**12, utilisation_cap=0.8))
    assert variants(legodnn(problem))["a"] == ("original", "original")
    assert variants(legodnn(problem, sharing_time=True))["a"] == ("half", "half")


def test_whole_models_have_one_degree_and_are_chosen_for_all_apps_together() -> None:
    problem = Problem((network("a", budget_ms=16.0),), ROOMY)
    assert variants(whole_models(problem) or {}) == {"a": ("half", "half")}
    assert whole_models(Problem((network("a", budget_ms=1.0),), ROOMY)) is None


def test_whole_models_of_least_latency_keep_their_floors() -> None:
    problem = Problem((network("a", floor=0.7),), ROOMY, objective=MIN_LATENCY)
    assert variants(whole_models(problem) or {}) == {"a": ("half", "half")}


def test_a_plan_that_exceeds_more_is_worse_however_accurate_it_is() -> None:
    problem = Problem((network("a", budget_ms=16.0),), ROOMY)
    accurate = judged(problem, {"a": Route("model-a", ("original", "original"), ("0-0", "1-0"))})
    best = exhaustive(problem)
    assert worse(problem, accurate, best)
    assert not worse(problem, best, accurate)
    assert not worse(problem, best, best)


@pytest.mark.parametrize("objective", MANNERS)
def test_draws_stay_within_their_range_and_are_equal_for_equal_seeds(objective: str) -> None:
    pool = Pool((network("one"), network("two")))
    for apps in RANGES.values():
        drawn = [draw(pool, seed, apps, objective) for seed in range(20)]
        assert {len(problem.apps) for problem in drawn} <= set(range(apps[0], apps[1] + 1))
        assert drawn == [draw(pool, seed, apps, objective) for seed in range(20)]
        assert {problem.objective for problem in drawn} == {objective}


def test_a_plan_that_claims_to_be_nearer_than_it_is_is_found_out() -> None:
    problem = Problem((network("a", budget_ms=16.0),), ROOMY)
    plan = judged(problem, {"a": Route("model-a", ("quarter", "original"), ("0-2", "1-0"))})
    assert gap_of(problem, replace(plan, gap=0.05), 10.0).claim_wrong
    assert not gap_of(problem, replace(plan, gap=0.2), 10.0).claim_wrong
