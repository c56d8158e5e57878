"""Sets of routes: all of them, the cheapest at given prices, those that no other one betters."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from schedulerd.optimizer.problem import AppOptions
from schedulerd.optimizer.routes import (
    Routes,
    cheapest_routes,
    count_routes,
    every_route,
    joined,
    nondominated,
    routes_of,
)
from schedulerd.optimizer.tables import Floats, Table, table_of
from tests.optimizer.brute import every_way
from tests.optimizer.problems import app_options, graded, option, policy_option, random_problem, with_policies


def app_with(seed: int, policies: int, blocks: int = 3) -> AppOptions:
    """Blocks of 2, 3 and 4 options in turn."""
    problem = random_problem(seed, apps=1, blocks=blocks, variants=4)
    (app,) = (with_policies(problem, seed, policies) if policies else problem).apps
    return replace(app, blocks=tuple(block[: 2 + b % 3] for b, block in enumerate(app.blocks)))


def names(app: AppOptions, routes: Routes) -> list[tuple[int, ...]]:
    """Policy and picks within its depth."""
    depths = [policy.depth for policy in app.policies] or [len(app.blocks)]
    pairs = zip(routes.policy.tolist(), routes.picks.tolist(), strict=True)
    return [(policy, *picks[: depths[policy]]) for policy, picks in pairs]


@pytest.mark.parametrize("policies", [0, 1, 4])
def test_every_route_is_there_once(policies: int) -> None:
    app = app_with(1, policies)
    table = table_of(app, frozenset())
    routes = every_route(table)
    assert len(routes) == count_routes(table) == len(every_way(app))
    assert len(set(names(app, routes))) == len(routes)


def test_counting_routes_does_not_overflow() -> None:
    """10 options in each of 30 blocks, more than 64 bits hold."""
    block = tuple(option(f"v{v}", 1.0, 0.0) for v in range(10))
    assert count_routes(table_of(app_options("cam", (block,) * 30), frozenset())) == 10**30


def prices(table: Table, seed: int, *, ties: bool) -> tuple[Floats, Floats]:
    """Costs of options and policies; with ties they are whole numbers, of which many sums are equal."""
    rng = np.random.default_rng(seed)
    shape = (len(table.numbers), *table.index.shape)
    if ties:
        return rng.integers(0, 3, shape).astype(np.float64), rng.integers(0, 3, shape[0]).astype(np.float64)
    return rng.random(shape), rng.random(shape[0])


def sums_of(table: Table, routes: Routes, costs: Floats, policy_costs: Floats) -> Floats:
    """What each route costs, block by block."""
    sums = policy_costs[routes.policy]
    for row, (policy, picks) in enumerate(zip(routes.policy, routes.picks, strict=True)):
        for block in range(int(table.depth[policy])):
            sums[row] += costs[policy, block, picks[block]]
    return sums


@pytest.mark.parametrize(("seed", "policies", "ties"), [*itertools.product(range(8), [0, 4], [False, True])])
@pytest.mark.parametrize("count", [1, 5, 23, 1000])
def test_the_cheapest_routes_are_the_first_of_all_sorted_by_their_sums(
    seed: int, policies: int, ties: bool, count: int
) -> None:
    app = app_with(seed, policies, blocks=4)
    table = table_of(app, frozenset())
    costs, policy_costs = prices(table, seed, ties=ties)
    found, rest = cheapest_routes(table, costs, policy_costs, count)
    everything = every_route(table)
    sums = np.sort(sums_of(table, everything, costs, policy_costs))
    assert sums_of(table, found, costs, policy_costs) == pytest.approx(sums[:count])
    assert len(set(names(app, found))) == len(found) == min(count, len(sums))
    if count >= len(sums):
        assert rest == np.inf
    else:
        assert rest == pytest.approx(sums[count]), "the cheapest of those that were left out, whatever it is"


def test_routes_know_nothing_of_blocks_past_the_depth() -> None:
    (whole, capped) = policies = (policy_option(3, {}), policy_option(3, {}, cap=0, head_ms=0.5))
    table = table_of(app_options("cam", graded("cam"), policies=policies), frozenset())
    routes = routes_of(table, np.array([1, 1, 0]), np.array([[1, 2, 2], [1, 0, 1], [1, 2, 2]]))
    assert routes.picks.tolist() == [[1, 0, 0], [1, 0, 0], [1, 2, 2]]
    assert routes.median_ms.tolist() == [3.5, 3.5, 7.0]
    assert routes.tail_ms.tolist() == pytest.approx([3.4 + 1.0, 3.4 + 1.0, 8.2])
    assert (whole.depth, capped.depth) == (3, 1)


def quadratic(values: Floats) -> list[int]:
    """Rows that no other row equals or undercuts everywhere; of equal rows the first."""

    def beats(one: int, other: int) -> bool:
        no_worse = bool((values[one] <= values[other]).all())
        return no_worse and (one < other or bool((values[one] < values[other]).any()))

    rows = range(len(values))
    return [row for row in rows if not any(beats(other, row) for other in rows if other != row)]


@pytest.mark.parametrize("seed", range(20))
def test_what_no_other_row_betters_is_what_comparing_all_pairs_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (60, 1 + seed % 4)) * rng.choice([1.0, 1e-9, 1e6], 1 + seed % 4)
    assert nondominated(values.astype(np.float64)).tolist() == quadratic(values)


def test_what_no_other_row_betters_copes_with_negative_figures_and_none_at_all() -> None:
    assert nondominated(np.array([[-1.0, 0.0], [-2.0, 0.0], [0.0, -1.0]])).tolist() == [1, 2]
    assert nondominated(np.zeros((0, 3))).tolist() == []


def test_routes_are_compared_by_memory_only_where_it_may_be_short() -> None:
    block = (option("slow-small", 4.0, 0.01, memory_bytes=1), option("quick-large", 3.0, 0.0, memory_bytes=9))
    routes = every_route(table_of(app_options("cam", (block,)), frozenset()))
    assert nondominated(routes.faces(memory=True)).tolist() == [0, 1]
    assert nondominated(routes.faces(memory=False)).tolist() == [1]


def test_joining_keeps_every_route_once_in_the_order_of_the_first_ones() -> None:
    table = table_of(app_options("cam", graded("cam", blocks=1)), frozenset())
    one, other = (routes_of(table, np.zeros(2, np.intp), np.array(picks)) for picks in ([[2], [0]], [[0], [1]]))
    assert joined([one, other]).picks.tolist() == [[2], [0], [1]]
