"""Sampling: which routes are drawn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.accuracy_model import Route
from blockstore.build.sampling import evenly, shared_out, single_routes, spread_routes

WIDTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def fewer_are_better(route: Route) -> float:
    return math.exp(-sum(route))


def test_single_routes_are_the_originals_and_each_variant_alone() -> None:
    assert single_routes((2, 1, 3)) == [(0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 0, 2)]


@pytest.mark.parametrize(
    ("widths", "fit_routes", "check_routes", "expected"),
    [
        ((4, 4), 6, 3, (6, 3)),
        ((4, 4), 40, 16, (6, 3)),
        ((3, 2), 40, 16, (1, 1)),
        ((2, 2), 40, 16, (1, 0)),
        ((4, 4), 40, 0, (9, 0)),
        ((4, 4), 0, 40, (0, 9)),
        ((7,), 40, 16, (0, 0)),
        ((1, 1), 40, 16, (0, 0)),
        ((1,), 0, 0, (0, 0)),
    ],
)
def test_too_few_combinations_are_shared_out_between_fitting_and_checking(
    widths: tuple[int, ...], fit_routes: int, check_routes: int, expected: tuple[int, int]
) -> None:
    assert shared_out(widths, fit_routes, check_routes) == expected


@given(WIDTHS, st.integers(0, 30), st.integers(0, 5))
def test_spread_routes_are_new_valid_and_repeatable(widths: list[int], count: int, seed: int) -> None:
    ranked, known = [range(n) for n in widths], single_routes(widths)
    routes = spread_routes(ranked, fewer_are_better, count, seed, known)
    every = set(itertools.product(*ranked))
    assert len(set(routes)) == len(routes) == min(count, len(every - set(known)))
    assert set(routes) <= every - set(known)
    assert routes == spread_routes(ranked, fewer_are_better, count, seed, known)


def test_predicted_accuracies_are_spread_where_uniform_routes_are_all_ruined() -> None:
    ranked = [range(5)] * 9

    def predict(route: Route) -> float:
        return 0.1 + 0.8 / (1 + math.exp(sum(route) - 5))

    def share_ruined(routes: list[Route]) -> float:
        return float(np.mean([predict(route) < 0.2 for route in routes]))

    generator = np.random.default_rng(0)
    uniform = [tuple(map(int, generator.integers(0, 5, 9))) for _ in range(100)]
    spread = spread_routes(ranked, predict, 100, 0, ())
    assert share_ruined(uniform) > 0.9
    counts, _ = np.histogram([predict(route) for route in spread], bins=4, range=(0.1, 0.9))
    assert counts.min() >= 15
    assert share_ruined(spread) < 0.3


def test_any_part_of_the_routes_is_spread_like_the_whole() -> None:
    routes = spread_routes([range(5)] * 9, lambda r: 1 - sum(r) / 36, 60, 0, ())
    half = [1 - sum(r) / 36 for r in routes[:30]]
    assert min(half) < 0.3
    assert max(half) > 0.7


def test_evenly_takes_what_is_nearest_to_evenly_spaced() -> None:
    routes = [(i,) for i in (0, 1, 2, 3, 50, 99, 100)]
    assert evenly(routes, lambda r: r[0] / 100, 3) == [(3,), (50,), (99,)]
