"""Evaluate: routes are measured as they run, and drops predict them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.build.evaluate import (
    Array,
    Route,
    Runner,
    averaged_drops,
    context_routes,
    evaluate,
    fit_drops,
    random_routes,
    route_accuracies,
)
from blockstore.build.images import Labelled

WIDTHS = (3, 3, 4)
DROPS = ((0.0, 0.02, 0.05), (0.0, 0.1, 0.12), (0.0, 0.01, 0.0, 0.2))


def additive(routes: Iterable[Route]) -> Mapping[Route, float]:
    """A model whose drops do add up."""
    return {r: 0.95 - sum(DROPS[b][v] for b, v in enumerate(r)) for r in routes}


def saturating(routes: Iterable[Route]) -> Mapping[Route, float]:
    """A model that loses less and less, as real ones do: accuracy never falls under 0.7."""
    return {r: 0.7 + 0.25 * (1 - min(1.0, sum(DROPS[b][v] for b, v in enumerate(r)) / 0.2)) for r in routes}


def test_drops_that_add_up_are_found_again() -> None:
    accuracy = evaluate(additive, WIDTHS, fit_routes=4, check_routes=5, seed=0)
    assert accuracy.original == pytest.approx(0.95)
    assert np.allclose(np.concatenate(accuracy.drops), np.concatenate(DROPS), atol=1e-6)
    assert accuracy.error == pytest.approx(0.0, abs=1e-6)
    assert accuracy.checked_routes == 5


def test_averaged_drops_are_those_of_the_three_contexts() -> None:
    drops = averaged_drops(additive(context_routes(WIDTHS)), WIDTHS)
    assert np.allclose(np.concatenate(drops), np.concatenate(DROPS))


def test_where_drops_do_not_add_up_the_error_says_by_how_much() -> None:
    accuracy = evaluate(saturating, WIDTHS, fit_routes=6, check_routes=4, seed=0)
    checked = random_routes(WIDTHS, 10, 0, apart_from=context_routes(WIDTHS))[6:]
    truth = saturating(checked)
    errors = [abs(0.95 - sum(accuracy.drops[b][v] for b, v in enumerate(r)) - truth[r]) for r in checked]
    assert accuracy.error == pytest.approx(np.mean(errors))
    assert accuracy.error > 0


def test_no_fitted_drop_is_negative() -> None:
    measured: dict[Route, float] = {(0, 0): 0.9, (1, 0): 0.93, (0, 1): 0.88, (1, 1): 0.9}
    drops = fit_drops(measured, 0.9, (2, 2))
    assert drops[0] == (0.0, 0.0)
    assert drops[1][1] > 0


def test_contexts_are_originals_middles_and_smallest() -> None:
    routes = context_routes(WIDTHS)
    assert {(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 2), (2, 1, 2), (2, 2, 3), (2, 2, 0)} <= set(routes)
    assert len(routes) == len(set(routes))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 30), st.integers(0, 5))
def test_random_routes_are_new_valid_and_repeatable(widths: list[int], count: int, seed: int) -> None:
    known = context_routes(widths)
    routes = random_routes(widths, count, seed, apart_from=known)
    every = set(itertools.product(*(range(n) for n in widths)))
    assert len(routes) == min(count, len(every - set(known)))
    assert set(routes) <= every - set(known)
    assert routes == random_routes(widths, count, seed, apart_from=known)


def test_route_accuracies_run_each_shared_beginning_once_per_batch() -> None:
    runs: list[str] = []

    def block(name: str, compute: Runner) -> Runner:
        def run(x: Array) -> Array:
            runs.append(name)
            return compute(x)

        return run

    images = np.zeros((4, 1, 3, 1), np.uint8)
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    data = Labelled(images, np.array([0, 1, 2, 0]))
    first = [block("a", lambda x: scores[: len(x)]), block("b", lambda x: scores[: len(x)])]
    second = [block("c", lambda x: x), block("d", lambda x: np.roll(x, 1, axis=1))]
    accuracies = route_accuracies([first, second], [(0, 0), (0, 1)], data, 4, lambda *_: None)
    assert accuracies == {(0, 0): 1.0, (0, 1): 0.0}
    assert runs == ["a", "c", "d"]
