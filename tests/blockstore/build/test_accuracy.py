"""Accuracy: three rounds of measuring end in a model, drops, and errors on routes that no fit has seen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest

from blockstore.accuracy_model import LOGISTIC, AccuracyModel, Route
from blockstore.build.accuracy import Accuracy, assess
from blockstore.build.tasks.base import Score

WIDTHS = (3, 3, 4)
TRUTH = AccuracyModel(LOGISTIC, 0.9, 0.1, 1.0, ((0.0, 0.1, 0.8), (0.0, 0.4, 1.0), (0.0, 0.1, 0.02, 1.5)), (), None, ())


class Board:
    """Gives accuracies by a model, with another figure beside them, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Route] = []

    def measure(self, routes: Sequence[Route]) -> Mapping[Route, Score]:
        self.asked += routes
        return {route: Score(TRUTH.predict(route), {"agreement": 1 / (1 + sum(route))}) for route in routes}


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
    assert accuracy.model.error is not None
    assert accuracy.additive_error is not None
    assert accuracy.model.error < accuracy.additive_error


def test_what_is_measured_again_comes_out_the_same() -> None:
    assert assessed(Board()) == assessed(Board())


def test_what_is_measured_of_a_route_beside_its_accuracy_is_evidence_too() -> None:
    evidence = assessed(Board()).model.evidence
    assert any(e.checked for e in evidence)
    for e in evidence:
        assert e.figures == {"agreement": pytest.approx(1 / (1 + sum(e.route)), abs=1e-6)}


def test_of_fewer_combinations_than_asked_for_some_are_still_only_compared() -> None:
    board = Board()
    evidence = assessed(board, fit_routes=100, check_routes=50).model.evidence
    assert sorted(board.asked) == list(itertools.product(*map(range, WIDTHS)))
    # 28 of the 36 routes are combinations: a third is checked, as asked for.
    assert sum(e.checked for e in evidence) == round(28 / 3)


@pytest.mark.parametrize("widths", [(4,), (1,), (1, 3), (2, 2)])
def test_where_there_is_no_route_to_check_no_error_is_claimed(widths: tuple[int, ...]) -> None:
    def measure(routes: Sequence[Route]) -> Mapping[Route, Score]:
        return {route: Score(0.9 - 0.1 * sum(route)) for route in routes}

    accuracy = assess(measure, widths, 40, 16, seed=0)
    assert not any(e.checked for e in accuracy.model.evidence)
    assert accuracy.model.error is accuracy.additive_error is None
    for route in itertools.product(*map(range, widths)):
        assert accuracy.model.predict(route) == pytest.approx(0.9 - 0.1 * sum(route))


def test_without_combinations_the_single_substitutions_have_to_do() -> None:
    accuracy = assessed(Board(), fit_routes=0, check_routes=0)
    assert accuracy.model.predict((0, 0, 3)) == pytest.approx(TRUTH.predict((0, 0, 3)))
    assert accuracy.model.error is accuracy.additive_error is None
