"""Accuracy: three rounds of measuring end in a model, drops, and errors on routes that no fit has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from blockstore.accuracy_model import LOGISTIC, AccuracyModel, Route
from blockstore.build.accuracy import Accuracy, assess

WIDTHS = (3, 3, 4)
TRUTH = AccuracyModel(LOGISTIC, 0.9, 0.1, 1.0, ((0.0, 0.1, 0.8), (0.0, 0.4, 1.0), (0.0, 0.1, 0.02, 1.5)), (), 0.0, ())


class Board:
    """Gives accuracies by a model, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Route] = []

    def measure(self, routes: Sequence[Route]) -> Mapping[Route, float]:
        self.asked += routes
        return {route: TRUTH.predict(route) for route in routes}


def assessed(board: Board, fit_routes: int = 14, check_routes: int = 6) -> Accuracy:
    return assess(board.measure, WIDTHS, fit_routes, check_routes, seed=0)


def test_no_route_is_measured_twice_and_all_are_evidence() -> None:
    board = Board()
    accuracy = assessed(board)
    assert len(board.asked) == len(set(board.asked)) == 1 + 7 + 14 + 6
    assert {e.route for e in accuracy.model.evidence} == set(board.asked)
    assert sum(e.checked for e in accuracy.model.evidence) == 6


def test_both_errors_are_of_the_routes_that_were_only_compared() -> None:
    accuracy = assessed(Board())
    checked = [e for e in accuracy.model.evidence if e.checked]
    original = accuracy.model.original

    def added(route: Route) -> float:
        return original - sum(row[v] for row, v in zip(accuracy.drops, route, strict=True))

    additive = [abs(added(e.route) - e.accuracy) for e in checked]
    assert accuracy.additive_error == pytest.approx(sum(additive) / 6, abs=1e-5)
    model = [abs(accuracy.model.predict(e.route) - e.accuracy) for e in checked]
    assert accuracy.model.error == pytest.approx(sum(model) / 6, abs=1e-5)
    assert accuracy.model.error < accuracy.additive_error


def test_what_is_measured_again_comes_out_the_same() -> None:
    assert assessed(Board()) == assessed(Board())


def test_a_model_with_fewer_combinations_than_asked_for_is_measured_whole() -> None:
    board = Board()
    assessed(board, fit_routes=100, check_routes=50)
    assert len(board.asked) == 3 * 3 * 4


def test_without_combinations_the_single_substitutions_have_to_do() -> None:
    accuracy = assessed(Board(), fit_routes=0, check_routes=0)
    assert accuracy.model.predict((0, 0, 3)) == pytest.approx(TRUTH.predict((0, 0, 3)))
    assert accuracy.model.error == accuracy.additive_error == 0.0
