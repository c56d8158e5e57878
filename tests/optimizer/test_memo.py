"""What is kept from one decision to the next changes no plan."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from benchmarks.optimizer_instances import instance
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.plan import Plan
from tests.optimizer.problems import (
    dressed,
    random_problem,
    route_of,
    two_apps,
    with_arenas,
    with_budgets,
    with_policies,
)

HIGHS = Highs(10.0)


def edited(rng: random.Random, problem: Problem, everybody: Problem) -> Problem:
    """One thing is different: a budget, a limit, what runs, who is there, what is wanted."""
    position = rng.randrange(len(problem.apps))
    app = problem.apps[position]
    kind = rng.choice(["budget", "rate", "memory", "power", "running", "join", "leave", "objective", "swap", "option"])
    if kind == "memory":
        memory_bytes = int(problem.limits.memory_bytes * rng.uniform(0.6, 1.6))
        return replace(problem, limits=replace(problem.limits, memory_bytes=memory_bytes))
    if kind == "power":
        return replace(problem, limits=replace(problem.limits, power_cap_w=rng.choice([None, 0.5, 1.0])))
    if kind == "objective":
        return replace(problem, objective=rng.choice(OBJECTIVES))
    if kind == "swap":
        return replace(problem, swap_cost=rng.choice([0.0, 0.01, 0.05]))
    if kind == "leave" and len(problem.apps) > 1:
        return replace(problem, apps=(*problem.apps[:position], *problem.apps[position + 1 :]))
    if kind == "join":
        there = {a.app.app_id for a in problem.apps}
        gone = [a for a in everybody.apps if a.app.app_id not in there]
        return replace(problem, apps=(*problem.apps, *gone[:1]))
    changed = _changed(rng, app, kind)
    return replace(problem, apps=(*problem.apps[:position], changed, *problem.apps[position + 1 :]))


def _changed(rng: random.Random, app: AppOptions, kind: str) -> AppOptions:
    if kind == "running":
        picks = [rng.randrange(len(block)) for block in app.blocks]
        return replace(app, running=route_of(app, picks, rng.choice(app.policies or (None,))))
    if kind == "rate":
        return replace(app, app=replace(app.app, rate_hz=app.app.rate_hz * rng.uniform(0.7, 1.4)))
    if kind == "option":
        slower = replace(app.blocks[0][0], latency_p95_ms=app.blocks[0][0].latency_p95_ms * 1.1)
        return replace(app, blocks=((slower, *app.blocks[0][1:]), *app.blocks[1:]))
    return replace(app, app=replace(app.app, budget_ms=app.app.budget_ms * rng.uniform(0.6, 1.5)))


@pytest.mark.parametrize("seed", range(16))
def test_eight_decisions_one_after_the_other_are_each_what_they_are_alone(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    plain = random_problem(seed, apps=3, blocks=2, tightness=(seed % 11) / 10)
    plain = with_policies(plain, seed, 3) if seed % 2 else plain
    everybody = dressed(with_arenas(plain, seed), seed, objective=OBJECTIVES[seed % 4])
    everybody = replace(everybody, apps=tuple(replace(app, pins=(), pinned_exits=()) for app in everybody.apps))
    problem, memo = everybody, Memo()
    for number in range(8):
        assert solve(problem, HIGHS, number, memo) == solve(problem, HIGHS, number)
        problem = edited(rng, problem, everybody)


def assert_equally_good(problem: Problem, one: Plan, other: Plan) -> None:
    """Within the gaps that they prove; what has to be exceeded is exceeded by as much."""
    assert violations(problem, one) == ()
    assert [(e.limit, round(e.share, 4)) for e in one.broken] == [(e.limit, round(e.share, 4)) for e in other.broken]
    allowed = max(plan.gap for plan in (one, other) if plan.gap is not None)
    assert one.weighted_accuracy == pytest.approx(other.weighted_accuracy, rel=allowed + 1e-6)


def test_with_too_many_routes_to_look_at_a_plan_is_as_good_as_without() -> None:
    """Prices are not unique where a relaxation is degenerate, so there routes may differ within the proven gap."""
    problem, memo = instance(0, 4, 8, 8), Memo()
    rng = random.Random(3)  # noqa: S311 - draws test data, not secrets
    for number in range(6):
        assert_equally_good(problem, solve(problem, HIGHS, number, memo), solve(problem, HIGHS, number))
        app = rng.choice(problem.apps).app
        problem = with_budgets(problem, **{app.app_id: app.budget_ms * rng.uniform(0.9, 1.5)})


def test_apps_that_did_not_change_are_not_prepared_again() -> None:
    memo, problem = Memo(), two_apps()
    cam, door = memo.prepare(problem)
    again = memo.prepare(with_budgets(problem, cam=20.0))
    assert again[1].routes is door.routes
    assert again[0].routes is cam.routes, "a budget is in no array"
    assert again[0].table.app.app.budget_ms == 20.0
    slower = replace(problem.apps[0].blocks[0][0], latency_ms=5.0, latency_p95_ms=5.4)
    changed = replace(problem.apps[0], blocks=((slower, *problem.apps[0].blocks[0][1:]), *problem.apps[0].blocks[1:]))
    later = memo.prepare(replace(problem, apps=(changed, problem.apps[1])))
    assert later[0].table.median_ms[0, 0] == 5.0
    assert later[1].routes is door.routes


def test_an_app_that_left_is_forgotten() -> None:
    memo, problem = Memo(), two_apps()
    _, door = memo.prepare(problem)
    memo.prepare(replace(problem, apps=problem.apps[:1]))
    assert memo.prepare(problem)[1].routes is not door.routes


def test_a_blob_that_another_app_can_run_too_from_now_on_is_shared() -> None:
    problem, memo = two_apps(), Memo()
    cam, door = problem.apps
    (alone,) = memo.prepare(replace(problem, apps=(cam,)))
    same = replace(door, blocks=(cam.blocks[0], *door.blocks[1:]))
    together, _ = memo.prepare(replace(problem, apps=(cam, same)))
    assert (alone.table.shared, len(together.table.shared)) == ((), 3)


def test_routes_that_differ_in_memory_alone_are_kept_where_it_may_be_short() -> None:
    cam = two_apps().apps[0]
    block = (
        cam.blocks[0][0],
        replace(cam.blocks[0][0], variant="small", digest="small", memory_bytes=1, accuracy_drop=0.01),
    )
    few = replace(two_apps(), apps=(replace(cam, blocks=(block,)),))
    memo = Memo()
    (roomy,) = memo.prepare(few)
    (tight,) = memo.prepare(replace(few, limits=replace(few.limits, memory_bytes=2_000_000)))
    assert roomy.routes is not None
    assert tight.routes is not None
    assert (len(roomy.routes), len(tight.routes)) == (1, 2)
