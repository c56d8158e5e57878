"""Options and policies that are left out are needed by no best plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockstore.accuracy_model import LINEAR, AccuracyModel
from schedulerd.optimizer.cost import Swapping
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import AppOptions, Option, Problem
from schedulerd.optimizer.reduce import Kept, undominated, with_running
from schedulerd.optimizer.tables import shared_digests, table_of
from schedulerd.optimizer.variations import pinned
from tests.optimizer.brute import exhaustive
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    dressed,
    graded,
    option,
    policy_option,
    random_problem,
    route_of,
    with_arenas,
    with_policies,
)


def kept_of(app: AppOptions, problem: Problem) -> Kept:
    kept = undominated(table_of(app, shared_digests(problem)), problem.limits.lanes)
    return with_running(app, kept, Swapping.of(problem))


def reduced(app: AppOptions, problem: Problem) -> AppOptions:
    """The app with nothing but what is kept."""
    kept = kept_of(app, problem)
    places = [[i for i in range(len(block)) if kept.options[b, i]] for b, block in enumerate(app.blocks)]
    return replace(
        app,
        blocks=tuple(tuple(block[i] for i in row) for block, row in zip(app.blocks, places, strict=True)),
        policies=tuple(app.policies[number] for number in sorted(kept.policies)) if app.policies else (),
        accuracy=app.accuracy and app.accuracy.keeping(places),
    )


def left(app: AppOptions, lanes: int = 1, *others: AppOptions) -> list[str]:
    """Variants that are kept in the first block."""
    kept = kept_of(app, Problem((app, *others), replace(ROOMY, lanes=lanes)))
    return [o.variant for o, keep in zip(app.blocks[0], kept.options[0], strict=False) if keep]


@pytest.mark.parametrize("seed", range(24))
def test_the_best_plan_is_among_what_is_kept(seed: int) -> None:
    """Fewer options, and exactly the optimum of all of them: excesses, the worst app, and the value."""
    plain = random_problem(seed, blocks=2, variants=4, tightness=(seed % 11) / 10)
    plain = with_policies(plain, seed, 3) if seed % 2 else plain
    problem = dressed(with_arenas(plain, seed), seed, objective=OBJECTIVES[seed // 2 % 4])
    problem = replace(problem, apps=tuple(map(pinned, problem.apps)))
    smaller = replace(problem, apps=tuple(reduced(app, problem) for app in problem.apps))
    excesses, worst, value = exhaustive(smaller)
    best_excesses, best_worst, best_value = exhaustive(problem)
    assert excesses == pytest.approx(best_excesses, abs=1e-9)
    assert (worst, value) == pytest.approx((best_worst, best_value), abs=1e-9)


def test_some_random_options_are_left_out() -> None:
    """Else the test before says nothing."""
    problems = [random_problem(seed, blocks=2, variants=4) for seed in range(40)]
    pairs = [(app, reduced(app, problem)) for problem in problems for app in problem.apps]
    assert sum(app.blocks != smaller.blocks for app, smaller in pairs) > 10


def test_of_equal_options_the_first_stays_and_worse_ones_go() -> None:
    best = option("best", 2.0, 0.0, memory_bytes=10)
    block = (best, replace(best, variant="twin", digest="twin"), option("worse", 2.0, 0.01, memory_bytes=10))
    assert left(app_options("cam", (block,))) == ["best"]


@pytest.mark.parametrize(
    "change",
    [
        {"latency_ms": 1.9},
        {"latency_p95_ms": 1.9},
        {"accuracy_drop": 0.0},
        {"memory_bytes": 9},
        {"energy_mj": 3.0},
    ],
)
def test_an_option_that_is_better_in_anything_stays(change: dict[str, Any]) -> None:
    best = replace(option("best", 2.0, 0.001, memory_bytes=10), energy_mj=3.5)
    worse = replace(option("other", 3.0, 0.01, p95_ms=3.0, memory_bytes=11), energy_mj=4.0)
    assert left(app_options("cam", ((best, worse),))) == ["best"]
    assert left(app_options("cam", ((best, replace(worse, **change)),))) == ["best", "other"]


def test_a_worse_option_stays_whose_blob_another_app_may_have_loaded_anyway() -> None:
    block = (option("best", 2.0, 0.0, memory_bytes=10), option("reuse", 3.0, 0.01, memory_bytes=20, digest="same"))
    cam = app_options("cam", (block,))
    door = app_options("door", ((option("must", 1.0, 0.0, memory_bytes=20, digest="same"),),))
    assert left(cam) == ["best"]
    assert left(cam, 1, door) == ["best", "reuse"]


@pytest.mark.parametrize(("saved", "lanes", "kept"), [(4, 1, ["wide"]), (4, 2, ["wide", "narrow"])])
def test_larger_activations_have_to_be_made_up_for_on_every_lane(saved: int, lanes: int, kept: list[str]) -> None:
    wide = option("wide", 1.0, 0.0, memory_bytes=10 - saved, arena_bytes=5)
    narrow = option("narrow", 1.0, 0.0, memory_bytes=10, arena_bytes=2)
    assert left(app_options("cam", ((wide, narrow),)), lanes) == kept


def test_what_runs_is_kept_with_its_policy_though_others_better_it() -> None:
    policies = (policy_option(2, {0: 0.5}), policy_option(2, {0: 0.5}, 0.01))
    policies = (policies[0], replace(policies[1], policy=replace(policies[1].policy, name="poor")))
    block = (option("best", 1.0, 0.0), option("worse", 2.0, 0.1))
    cam = app_options("cam", (block, graded("cam")[1]), policies=policies)
    problem = Problem((cam,), ROOMY, swap_cost=0.01)
    assert kept_of(cam, problem).policies == (0,)
    running = replace(cam, running=route_of(cam, [1, 0], policies[1]))
    kept = kept_of(running, problem)
    assert set(kept.policies) == {0, 1}
    assert kept.options[0, :2].tolist() == [True, True]


def test_what_is_resident_is_kept_where_a_swap_costs_something() -> None:
    """To go over to `worse` costs half of what the better one costs, which has to be loaded."""
    block = (option("best", 1.0, 0.0), option("worse", 2.0, 0.001), option("runs", 3.0, 0.1))
    cam = app_options("cam", (block,))
    running = replace(cam, running=route_of(cam, [2]))
    costly = Problem((running,), ROOMY, swap_cost=0.01, resident=frozenset({block[1].digest}))
    assert kept_of(running, costly).options[0].tolist() == [True, True, True]
    assert kept_of(running, replace(costly, swap_cost=0.0)).options[0].tolist() == [True, False, False]


def with_cosine(cosine: float, block: tuple[Option, ...]) -> AppOptions:
    """Two blocks, the second of one damaged variant only; `block` does damages of 0, 0.01 and so on."""
    rows = tuple(0.01 * place for place in range(len(block))), (0.04,)
    model = AccuracyModel(LINEAR, 0.9, 0.1, 0.0, rows, ((), (cosine,)), None, ())
    return replace(app_options("cam", (block, (option("only", 1.0, 0.0),))), accuracy=model)


def test_damage_that_undoes_other_damage_is_kept() -> None:
    """With a cosine of -0.5, the damage of 0.01 brings that of both blocks from 0.04 down to 0.03."""
    block = (option("original", 2.0, 0.0), option("damaged", 2.0, 0.0))
    assert left(with_cosine(0.5, block)) == ["original"]
    assert left(with_cosine(-0.5, block)) == ["original", "damaged"]
