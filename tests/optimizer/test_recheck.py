"""Every way in which a plan can be wrong is found, and right plans pass."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from blockstore.accuracy_model import KINDS, AccuracyModel
from blockstore.exits import NO_EXITS
from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.cost import power_of
from schedulerd.optimizer.objectives import MIN_ENERGY
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.plan import Plan
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    graded,
    policy_option,
    random_problem,
    with_arenas,
    with_policies,
)

PROBLEM = Problem((app_options("cam", graded("cam")), app_options("door", graded("door"))), ROOMY)
PLAN = plan_of(choose(PROBLEM, [[0, 1, 2], [1, 0, 0]]))


def changed(app: int = 0, **fields: Any) -> Plan:
    """`PLAN` with other fields in one app's part."""
    apps = list(PLAN.apps)
    apps[app] = replace(apps[app], **fields)
    return replace(PLAN, apps=tuple(apps))


def rerouted(**fields: Any) -> Plan:
    """`PLAN` with another route for the first app."""
    return changed(route=replace(PLAN.apps[0].route, **fields))


@pytest.mark.parametrize("seed", range(20))
def test_predictions_agree_with_the_second_opinion(seed: int) -> None:
    problem = with_arenas(random_problem(seed, apps=3, tightness=(seed % 11) / 10), seed)
    for pick in range(3):
        assert violations(problem, plan_of(choose(problem, [[pick] * 3] * 3))) == ()


@pytest.mark.parametrize("seed", range(20))
def test_they_agree_on_every_policy(seed: int) -> None:
    problem = with_arenas(with_policies(random_problem(seed, apps=3, tightness=(seed % 11) / 10), seed, 5), seed)
    for number in range(5):
        assert violations(problem, plan_of(choose(problem, [[number % 3] * 3] * 3, [number] * 3))) == ()


@pytest.mark.parametrize("seed", range(40))
def test_they_agree_where_deadlines_coincide(seed: int) -> None:
    """Budgets are multiples of periods that no binary fraction is, so that rounding could count a request more."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    rates_hz = [rng.choice([3.0, 7.0, 15.0, 30.0, 60.0]) for _ in range(3)]
    apps = tuple(
        app_options(
            f"a{a}", graded(f"a{a}"), rate_hz=rate_hz, budget_ms=rng.randint(1, 9) * 1000 / rng.choice(rates_hz)
        )
        for a, rate_hz in enumerate(rates_hz)
    )
    problem = Problem(apps, replace(ROOMY, lanes=rng.choice([1, 2])))
    assert violations(problem, plan_of(choose(problem, [[0, 1, 2]] * 3))) == ()


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (replace(PLAN, apps=PLAN.apps[:1]), "apps: the plan is for ['cam'], the problem for ['cam', 'door']"),
        (replace(PLAN, apps=(PLAN.apps[0], PLAN.apps[0])), "apps: "),
        (rerouted(model="other"), "cam: the route is of model 'other'"),
        (rerouted(variants=("cam0v0", "cam1v1")), "cam: the route has 2 blocks, the model 3"),
        (changed(block_ms=()), "cam: the route has 3 blocks"),
        (rerouted(variants=("cam0v0", "cam1v1", "lost")), "cam: block 2 has no variant 'lost'"),
        (
            rerouted(digests=("blob-cam0v0", "blob-cam1v1", "stale")),
            "cam: block 2 has no variant 'cam2v2' with blob stale",
        ),
        (changed(latency_ms=1.0), "cam: latency_ms is 9, the plan says 1"),
        (changed(latency_p95_ms=float("nan")), "cam: latency_p95_ms"),
        (changed(accuracy=0.9), "cam: accuracy is 0.87, the plan says 0.9"),
        (changed(memory_bytes=1), "cam: memory_bytes is 9000000"),
        (changed(utilisation=0.0), "cam: utilisation"),
        (changed(miss_ms=2.0), "cam: miss_ms is 0, the plan says 2"),
        (changed(block_ms=(4.0, 3.0, 3.0)), "cam: block_ms[2] is 2, the plan says 3"),
        (replace(PLAN, memory_bytes=1), "plan: memory_bytes is 20000000"),
        (replace(PLAN, memory_limit_bytes=1), "plan: memory_limit_bytes"),
        (replace(PLAN, utilisation=0.0), "plan: utilisation"),
        (replace(PLAN, weighted_accuracy=0.99), "plan: weighted_accuracy is 0.97"),
        (replace(PLAN, objective=MIN_ENERGY), "plan: objective is 'max-accuracy', the plan says 'min-energy'"),
        # Blocks of 4, 3 and 2 ms at 2 W.
        (changed(energy_mj=17.0), "cam: energy_mj is 18, the plan says 17"),
    ],
)
def test_a_false_statement_is_found(plan: Plan, said: str) -> None:
    found = violations(PROBLEM, plan)
    assert len(found) >= 1
    assert found[0].startswith(said)


CAPPED = policy_option(3, {0: 0.25}, 0.03, cap=1, head_ms=0.5, head_bytes=500_000)
CAM_WITH_EXITS = replace(PROBLEM.apps[0], policies=(policy_option(3, {}, head_bytes=500_000), CAPPED))
EXITS = replace(PROBLEM, apps=(CAM_WITH_EXITS, PROBLEM.apps[1]))
LEAVING = plan_of(choose(EXITS, [[0, 1, 2], [1, 0, 0]], [1, 0]))


def leaving(**fields: Any) -> Plan:
    """`LEAVING` with other fields in the first app's part."""
    return replace(LEAVING, apps=(replace(LEAVING.apps[0], **fields), LEAVING.apps[1]))


def left_by(**fields: Any) -> Plan:
    """`LEAVING` with another route for the first app."""
    return leaving(route=replace(LEAVING.apps[0].route, **fields))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (left_by(policy=policy_option(3, {0: 0.2}).policy), "cam: the model has no exit policy exit0>=0.5 final"),
        (left_by(policy=NO_EXITS), "cam: the route has 2 blocks, the model 3"),
        (left_by(variants=("cam0v0",)), "cam: the route has 1 blocks, the model 2"),
        (left_by(heads=("head0",)), "cam: the route has 1 heads"),
        (left_by(heads=("head1", "head0")), "cam: the route has 2 heads"),
        (leaving(exit_shares=(1.0,)), "cam: there are 1 exit shares for 2 steps"),
        (leaving(exit_shares=(0.5, 0.5)), "cam: exit_shares[0] is 0.25, the plan says 0.5"),
        # Blocks of 4 and 3 ms with a head of 0.5 ms each; 3 in 4 frames run the second.
        (leaving(latency_ms=7.0), "cam: latency_ms is 8, the plan says 7"),
        (leaving(expected_ms=8.0), "cam: expected_ms is 7.125, the plan says 8"),
        (leaving(utilisation=0.08), "cam: utilisation is 0.07125, the plan says 0.08"),
        (leaving(accuracy=0.89), "cam: accuracy is 0.86, the plan says 0.89"),
        (leaving(memory_bytes=7_000_000), "cam: memory_bytes is 8000000, the plan says 7000000"),
        (leaving(latency_p95_ms=1.0), "cam: latency_p95_ms is "),
        (replace(LEAVING, utilisation=0.0), "plan: utilisation is 0.18125"),
        (replace(LEAVING, memory_bytes=1), "plan: memory_bytes is 19000000"),
    ],
)
def test_a_false_statement_about_exits_is_found(plan: Plan, said: str) -> None:
    assert violations(EXITS, LEAVING) == ()
    found = violations(EXITS, plan)
    assert len(found) >= 1
    assert found[0].startswith(said)


def test_a_policy_where_there_is_none_is_found() -> None:
    route = replace(PLAN.apps[0].route, policy=CAPPED.policy)
    assert violations(PROBLEM, changed(route=route))[0].startswith("cam: the model has no exit policy")
    assert violations(PROBLEM, rerouted(heads=("head0",)))[0].startswith("cam: the route has 1 heads")


# Costs that are not simply added up.


@pytest.mark.parametrize("percentile", [50.0, 80.0, 95.0, 99.9])
@pytest.mark.parametrize("seed", range(10))
def test_they_agree_on_every_percentile(seed: int, percentile: float) -> None:
    problem = with_policies(random_problem(seed, apps=3, tightness=0.5), seed, 3)
    apps = tuple(replace(a, app=replace(a.app, percentile=percentile)) for a in problem.apps)
    problem = replace(problem, apps=apps)
    for number in range(3):
        assert violations(problem, plan_of(choose(problem, [[number] * 3] * 3, [number] * 3))) == ()


def test_a_miss_is_of_the_percentile_that_the_budget_is_about() -> None:
    """The median of 9 ms and what comes beside it fits; the 95th percentile of 9.9 ms does not."""
    alone = app_options("cam", graded("cam"))
    beside_ms = ROOMY.overhead_ms
    median = replace(alone, app=replace(alone.app, budget_ms=9.1 + beside_ms, percentile=50.0))
    tail = replace(alone, app=replace(alone.app, budget_ms=9.1 + beside_ms))
    misses = []
    for app in (median, tail):
        problem = Problem((app,), ROOMY)
        plan = plan_of(choose(problem, [[0, 1, 2]]))
        assert violations(problem, plan) == ()
        misses.append(plan.apps[0].miss_ms)
    assert misses[0] == 0.0
    assert misses[1] > 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_they_agree_where_drops_do_not_add_up(seed: int, kind: str) -> None:
    problem = with_policies(random_problem(seed, apps=3, tightness=0.5), seed, 4)
    apps = tuple(replace(a, accuracy=random_model(seed, a, kind)) for a in problem.apps)
    problem = replace(problem, apps=apps)
    for number in range(4):
        plan = plan_of(choose(problem, [[1 + number % 2] * 3] * 3, [number] * 3))
        assert violations(problem, plan) == ()
        added_up = replace(problem, apps=tuple(replace(a, accuracy=None) for a in apps))
        assert any("accuracy is" in said for said in violations(added_up, plan))


def random_model(seed: int, app: AppOptions, kind: str) -> AccuracyModel:
    """Damages in no order, joined with cosines of either sign."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    damages = tuple((0.0, *(rng.uniform(0.01, 0.4) for _ in block[1:])) for block in app.blocks)
    cosines = tuple(tuple(rng.uniform(-0.4, 0.9) for _ in range(c)) for c in range(len(app.blocks)))
    return AccuracyModel(kind, app.full_accuracy, 0.1, rng.uniform(0.5, 4.0), damages, cosines, 0.01, ())


@pytest.mark.parametrize("seed", range(10))
def test_they_agree_on_power_whether_or_not_energy_was_measured(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    problem = with_policies(random_problem(seed, apps=3, tightness=0.5), seed, 3)

    def metered(app: AppOptions) -> AppOptions:
        blocks = tuple(
            tuple(replace(o, energy_mj=rng.choice([None, rng.uniform(0.1, 9.0)])) for o in block)
            for block in app.blocks
        )
        policies = tuple(
            replace(p, heads_mj=tuple(0.3 * (ms > 0) for ms in p.heads_ms) if rng.random() < 0.5 else ())
            for p in app.policies
        )
        return replace(app, blocks=blocks, policies=policies)

    problem = replace(problem, apps=tuple(map(metered, problem.apps)))
    for number in range(3):
        choice = choose(problem, [[number] * 3] * 3, [number] * 3)
        drawn_w = power_of(problem, choice.costs)
        for cap_w, exceeded in ((drawn_w * 1.001, False), (drawn_w * 0.999, True)):
            capped = replace(problem, limits=replace(problem.limits, power_cap_w=cap_w))
            silent = replace(plan_of(choose(capped, choice.picks, choice.policies)), broken=())
            assert any(said.startswith("power: ") for said in violations(capped, silent)) is exceeded


def test_a_block_that_is_pinned_runs_what_it_is_pinned_to() -> None:
    def pinned(*pins: str) -> Problem:
        return replace(PROBLEM, apps=(replace(PROBLEM.apps[0], pins=pins), PROBLEM.apps[1]))

    assert violations(pinned("cam0v0", "", "cam2v2"), PLAN) == ()
    (said,) = violations(pinned("cam0v0", "cam1v0", ""), PLAN)
    assert said == "cam: block 1 runs 'cam1v1', and is pinned to 'cam1v0'"
    assert violations(pinned("gone", "", ""), PLAN) == (), "what is not offered cannot be run"


def test_an_exit_policy_that_is_pinned_is_the_one_that_runs() -> None:
    policies = (policy_option(3, {}), policy_option(3, {0: 0.5}, 0.01))
    cam = app_options("cam", graded("cam"), policies=policies)

    def said(running: int, held: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
        problem = Problem((replace(cam, pinned_exits=held),), ROOMY)
        return violations(problem, plan_of(choose(problem, [[0, 0, 0]], [running])))

    steps = policies[1].policy.steps
    assert said(1, steps) == ()
    assert said(0, steps) == (f"cam: the exit policy is {policies[0].policy}, and another one is pinned",)
    assert said(0, (("exit9", 0.0),)) == (), "what is not offered cannot be run"


def tightened(limit: str) -> Problem:
    """`PROBLEM` under one limit that `PLAN`'s routes exceed."""
    cam = PROBLEM.apps[0]
    tighter: dict[str, Callable[[], Problem]] = {
        "memory": lambda: replace(PROBLEM, limits=replace(ROOMY, memory_bytes=19_000_000)),
        "utilisation": lambda: replace(PROBLEM, limits=replace(ROOMY, utilisation_cap=0.15)),
        "power": lambda: replace(PROBLEM, limits=replace(ROOMY, power_cap_w=0.1)),
        "budget:cam": lambda: replace(
            PROBLEM, apps=(replace(cam, app=replace(cam.app, budget_ms=13.0)), PROBLEM.apps[1])
        ),
        "floor:cam": lambda: replace(
            PROBLEM, apps=(replace(cam, app=replace(cam.app, accuracy_floor=0.89)), PROBLEM.apps[1])
        ),
    }
    return tighter[limit]()


@pytest.mark.parametrize("limit", ["memory", "utilisation", "power", "budget:cam", "floor:cam"])
def test_an_exceeded_limit_is_found_unless_the_plan_says_so(limit: str) -> None:
    problem = tightened(limit)
    honest = plan_of(choose(problem, [[0, 1, 2], [1, 0, 0]]))
    assert [e.limit for e in honest.broken] == [limit]
    assert violations(problem, honest) == ()
    silent = violations(problem, replace(honest, broken=()))
    assert len(silent) == 1
    assert silent[0].startswith(f"{limit}: ")
