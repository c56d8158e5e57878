"""Fit: what is found again of models that are known, and which curve is chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from blockstore.accuracy_model import LINEAR, LOGISTIC, WEIBULL, AccuracyModel, Route
from blockstore.build.fit import CURVES, Curve, best_curve, fit_curve, fit_drops, fit_model, mean_error
from blockstore.build.sampling import single_routes, spread_routes

WIDTHS = (3, 3, 4, 3)
DAMAGES = ((0.0, 0.1, 0.8), (0.0, 0.4, 1.0), (0.0, 0.02, 0.1, 1.5), (0.0, 0.3, 0.6))
TRUTH = AccuracyModel(LOGISTIC, 0.9, 0.1, 1.0, DAMAGES, (), None, ())
EVERY = list(itertools.product(*map(range, WIDTHS)))


def measured(truth: Callable[[Route], float], count: int = 40) -> dict[Route, float]:
    singles = single_routes(WIDTHS)
    drawn = spread_routes([range(n) for n in WIDTHS], truth, count, 0, singles)
    return {route: truth(route) for route in (*singles, *drawn)}


def unseen(truth: Callable[[Route], float], seen: Mapping[Route, float]) -> dict[Route, float]:
    return {route: truth(route) for route in EVERY if route not in seen}


@pytest.mark.parametrize("kind", [WEIBULL, LOGISTIC])
def test_a_curve_is_found_again(kind: str) -> None:
    truth = replace(TRUTH, kind=kind).predict
    seen = measured(truth)
    model = fit_curve(Curve(kind), seen, WIDTHS)
    assert mean_error(model.predict, unseen(truth, seen)) < 0.002
    assert model.floor == pytest.approx(0.1, abs=0.02)


def test_cosines_are_found_again() -> None:
    truth = replace(TRUTH, cosines=((), (0.6,), (-0.3, 0.0), (0.0, 0.5, 0.4))).predict
    seen = measured(truth, count=60)
    without = mean_error(fit_curve(Curve(LOGISTIC), seen, WIDTHS).predict, unseen(truth, seen))
    with_cosines = mean_error(fit_curve(Curve(LOGISTIC, 0.01), seen, WIDTHS).predict, unseen(truth, seen))
    assert with_cosines < 0.005
    assert with_cosines < without / 2


def test_drops_that_add_up_are_found_again_and_a_line_is_chosen() -> None:
    drops = ((0.0, 0.02, 0.05), (0.0, 0.1, 0.12), (0.0, 0.01, 0.0, 0.2), (0.0, 0.03, 0.04))
    truth = AccuracyModel(LINEAR, 0.95, 0.0, 0.0, drops, (), None, ()).predict
    seen = measured(truth)
    assert np.allclose(np.concatenate(fit_drops(seen, 0.95, WIDTHS)), np.concatenate(drops), atol=1e-5)
    assert best_curve(seen, WIDTHS, seed=0) == Curve(LINEAR)


def test_where_drops_do_not_add_up_the_chosen_curve_is_better_than_a_line() -> None:
    seen = measured(TRUTH.predict)
    missing = unseen(TRUTH.predict, seen)
    line = mean_error(fit_curve(Curve(LINEAR), seen, WIDTHS).predict, missing)
    model = fit_model(seen, missing, WIDTHS, seed=0)
    assert model.error is not None
    assert model.error < line / 5
    assert model.error == pytest.approx(mean_error(model.predict, missing), abs=1e-6)


def test_the_evidence_says_what_was_fitted_and_what_was_only_compared() -> None:
    seen = measured(TRUTH.predict, count=10)
    other = dict(itertools.islice(unseen(TRUTH.predict, seen).items(), 5))
    evidence = fit_model(seen, other, WIDTHS, seed=0).evidence
    assert {e.route for e in evidence if not e.checked} == set(seen)
    assert {e.route: e.accuracy for e in evidence if e.checked} == pytest.approx(other, abs=1e-6)


def test_the_same_measurements_give_the_same_model() -> None:
    seen = measured(TRUTH.predict)
    assert fit_model(seen, {}, WIDTHS, seed=3) == fit_model(seen, {}, WIDTHS, seed=3)


def test_no_drop_or_damage_is_negative_even_where_a_variant_gains() -> None:
    gains: dict[Route, float] = {(0, 0): 0.9, (1, 0): 0.93, (0, 1): 0.88, (1, 1): 0.9}
    drops = fit_drops(gains, 0.9, (2, 2))
    assert drops[0] == (0.0, 0.0)
    assert drops[1][1] > 0
    for kind in (LINEAR, WEIBULL, LOGISTIC):
        assert min(map(min, fit_curve(Curve(kind), gains, (2, 2)).damages)) >= 0


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
@pytest.mark.parametrize("kind", [WEIBULL, LOGISTIC])
def test_routes_that_are_all_alike_can_be_fitted(kind: str, accuracy: float) -> None:
    flat = dict.fromkeys(EVERY, accuracy)
    assert mean_error(fit_curve(Curve(kind, 0.3), flat, WIDTHS).predict, flat) < 0.005


def test_a_model_without_variants_is_its_original() -> None:
    model = fit_model({(0, 0): 0.7}, {}, (1, 1), seed=0)
    assert model.predict((0, 0)) == 0.7
    assert model.damages == ((0.0,), (0.0,))
    assert model.error is None


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("others", [0.0, 6e-7, 0.01])
def test_a_model_whose_floor_is_an_original_that_is_no_round_number_can_be_loaded(curve: Curve, others: float) -> None:
    # A detector that finds next to nothing: its mAP, which the floor must not exceed, is rounded up.
    model = fit_curve(curve, dict.fromkeys(EVERY, others) | {EVERY[0]: 6e-7}, WIDTHS)
    assert AccuracyModel.from_document(model.to_document()) == model
