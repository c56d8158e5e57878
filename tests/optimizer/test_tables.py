"""Arrays of an app's options and policies give for whole routes what `cost.route_cost` gives for one."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from schedulerd.optimizer.choice import most_accurate
from schedulerd.optimizer.cost import Swapping, floor_of, policies_of, route_cost
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.routes import routes_of
from schedulerd.optimizer.tables import Table, keeping, shared_digests, swapped, table_of
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    dressed,
    option,
    policy_option,
    random_problem,
    with_arenas,
    with_policies,
)


def dressed_problem(seed: int) -> Problem:
    """With exits for two apps in three, shared blobs, and heads that some apps share."""
    plain = random_problem(seed, apps=3, blocks=4, variants=2 + seed % 3)
    return dressed(with_arenas(with_policies(plain, seed, 4) if seed % 3 else plain, seed), seed)


def tables_of(problem: Problem) -> list[Table]:
    shared, swapping = shared_digests(problem), Swapping.of(problem)
    return [swapped(table_of(app, shared), swapping) for app in problem.apps]


@pytest.mark.parametrize("seed", range(16))
def test_every_figure_of_random_routes_is_that_of_route_cost(seed: int) -> None:
    problem = dressed_problem(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    for app, table in zip(problem.apps, tables_of(problem), strict=True):
        policies = [rng.randrange(len(policies_of(app))) for _ in range(20)]
        picks = [[rng.randrange(len(block)) for block in app.blocks] for _ in policies]
        routes = routes_of(table, np.array(policies), np.array(picks))
        for row, (number, picked) in enumerate(zip(policies, picks, strict=True)):
            policy = policies_of(app)[number]
            cost = route_cost(app, picked, policy, Swapping.of(problem))
            assert routes.loss[row] == pytest.approx(cost.accuracy_drop, abs=1e-12)
            assert routes.median_ms[row] == pytest.approx(cost.median_ms)
            assert routes.tail_ms[row] == pytest.approx(cost.tail_ms)
            assert routes.longest_ms[row] == pytest.approx(cost.longest_ms)
            assert routes.expected_ms[row] == pytest.approx(cost.expected_ms)
            assert routes.energy_mj[row] == pytest.approx(cost.energy_mj)
            assert routes.swap[row] == pytest.approx(cost.swap_loss)
            assert routes.arena_bytes[row] == cost.arena_bytes
            blobs = {
                blob.digest: blob.memory_bytes
                for blob in (*(b[i] for b, i in zip(app.blocks[: policy.depth], picked, strict=False)), *policy.heads)
            }
            loaded = {table.shared[number] for number in np.flatnonzero(routes.blobs[row])}
            assert loaded == blobs.keys() & shared_digests(problem)
            assert routes.own_bytes[row] == sum(size for digest, size in blobs.items() if digest not in loaded)


def test_a_blob_is_shared_by_two_blocks_two_apps_or_the_heads_of_two_apps_and_not_by_two_options_of_one_block() -> None:
    def chain(name: str, *digests: str) -> tuple[tuple[object, ...], ...]:
        return tuple((option(f"{name}{b}", 1.0, 0.0, digest=digest),) for b, digest in enumerate(digests))

    twice = (option("one", 1.0, 0.0, digest="engines"), option("two", 2.0, 0.0, digest="engines"))
    one = app_options("one", (*chain("one", "own", "two-blocks", "two-blocks"), twice))  # type: ignore[arg-type] # any length
    heads = tuple(policy_option(4, leaving, head_bytes=1, owner="both") for leaving in ({}, {0: 0.5}))
    other = app_options("other", chain("other", "a", "own-too", "c", "two-apps"), policies=heads)  # type: ignore[arg-type]
    third = app_options("third", chain("third", "d", "two-apps", "e", "f"), policies=heads[:1])  # type: ignore[arg-type]
    assert shared_digests(Problem((one, other, third), ROOMY)) == {
        "two-blocks",
        "two-apps",
        "bothhead0",
        "bothhead1",
        "bothhead2",
    }
    assert shared_digests(Problem((one, other), ROOMY)) == {"two-blocks"}, "heads of one app have one place"


def test_blocks_with_fewer_options_are_padded_with_their_first() -> None:
    blocks = ((option("a", 1.0, 0.0),), (option("b", 2.0, 0.0), option("c", 1.0, 0.01), option("d", 0.5, 0.02)))
    table = table_of(app_options("cam", blocks), frozenset())
    assert table.counts.tolist() == [1, 3]
    assert table.index.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert table.median_ms.tolist() == [[1.0, 1.0, 1.0], [2.0, 1.0, 0.5]]


def test_keeping_some_options_and_policies_leaves_their_figures_and_their_place_in_the_problem() -> None:
    problem = with_policies(random_problem(3, apps=1, blocks=3, variants=4), 3, 4)
    (table,) = tables_of(problem)
    options = np.array([[True, False, True, False], [False, True, True, True], [True, False, False, False]])
    kept = keeping(table, options, [2, 0])
    assert (kept.counts.tolist(), kept.numbers.tolist()) == ([2, 3, 1], [2, 0])
    assert kept.index.tolist() == [[0, 2, 0], [1, 2, 3], [0, 0, 0]]
    assert kept.median_ms[1].tolist() == table.median_ms[1, 1:].tolist()
    assert kept.reach.tolist() == table.reach[[2, 0]].tolist()
    assert kept.structure is not table.structure


def test_tables_that_differ_in_swaps_alone_have_one_structure() -> None:
    problem = dressed_problem(5)
    table = table_of(problem.apps[0], frozenset())
    assert swapped(table, Swapping(0.1, frozenset())).structure is table.structure
    assert swapped(table, Swapping(0.1, frozenset())).swap.any() == (problem.apps[0].running is not None)


@pytest.mark.parametrize("seed", range(20))
def test_the_allowed_loss_is_what_the_floor_that_is_held_leaves(seed: int) -> None:
    problem = dressed_problem(seed)
    for app, table in zip(problem.apps, tables_of(problem), strict=True):
        for floor in (0.0, 0.5, 0.87, 0.9, 0.99):
            strict = replace(app, app=replace(app.app, accuracy_floor=floor))
            allowed = replace(table, app=strict).allowed_loss()
            assert allowed == pytest.approx(app.full_accuracy - floor_of(strict))


def test_the_least_loss_of_all_is_allowed_whatever_the_floor() -> None:
    """Nothing is without loss here: the only option of the first block costs two points."""
    blocks = ((option("poor", 1.0, 0.02),), (option("a", 1.0, 0.0), option("b", 1.0, 0.01)))
    problem = Problem((app_options("cam", blocks, floor=0.9),), ROOMY)
    (table,) = tables_of(problem)
    assert table.allowed_loss() == pytest.approx(0.02)
    assert most_accurate(problem).broken() == ()
