"""Every alternative on a board is what `choice.choose` says of it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from schedulerd.optimizer.board import Board, Selection, board_of
from schedulerd.optimizer.choice import Choice, choose
from schedulerd.optimizer.cost import TOLERANCE, Swapping
from schedulerd.optimizer.objectives import MAX_FAIRNESS, OBJECTIVES
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.routes import every_route
from schedulerd.optimizer.tables import shared_digests, swapped, table_of
from schedulerd.optimizer.worth import worths
from tests.optimizer.problems import dressed, random_problem, two_apps, with_arenas, with_budgets, with_policies


def full_board(problem: Problem) -> Board:
    """With every route of every app."""
    shared, swapping = shared_digests(problem), Swapping.of(problem)
    tables = [swapped(table_of(app, shared), swapping) for app in problem.apps]
    return board_of(problem, tables, [every_route(table) for table in tables])


def chosen(board: Board, rows: list[int]) -> Choice:
    pairs = list(zip(board.routes, rows, strict=True))
    picks = [routes.picks[row].tolist() for routes, row in pairs]
    return choose(board.problem, picks, [int(routes.policy[row]) for routes, row in pairs])


def figures_of(board: Board, choice: Choice) -> list[float]:
    """As `Selection.figures`, from the choice."""
    problem = board.problem
    # Floors are no business of a board: routes that break them are not on it.
    excesses = [sum(e.share for e in choice.broken() if e.rank == rank) for rank in board.ranks]
    pairs = list(zip(problem.apps, choice.costs, strict=True))
    worst = max(0.0, *(cost.accuracy_drop / app.full_accuracy for app, cost in pairs))
    value = sum(worth.of_cost(cost) for worth, cost in zip(worths(problem), choice.costs, strict=True))
    return [*excesses, worst if problem.objective == MAX_FAIRNESS else 0.0, value]


def random_board(seed: int) -> Board:
    plain = random_problem(seed, apps=3, blocks=2, variants=3, tightness=(seed % 11) / 10)
    plain = with_policies(plain, seed, 3) if seed % 2 else plain
    return full_board(dressed(with_arenas(plain, seed), seed, objective=OBJECTIVES[seed % 4]))


@pytest.mark.parametrize("seed", range(14))
def test_every_alternative_of_every_app_is_what_choosing_it_gives(seed: int) -> None:
    board = random_board(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    selection = Selection(board, [rng.randrange(len(routes)) for routes in board.routes])
    for position, routes in enumerate(board.routes):
        found = selection.alternatives(position)
        assert found.shape == (len(routes), len(board.ranks) + 2)
        for row in range(len(routes)):
            rows = [*selection.rows]
            rows[position] = row
            assert found[row].tolist() == pytest.approx(figures_of(board, chosen(board, rows)), abs=2 * TOLERANCE)


@pytest.mark.parametrize("seed", range(12))
def test_taking_routes_one_by_one_comes_to_what_a_new_selection_is(seed: int) -> None:
    board = random_board(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    selection = Selection(board, [0] * len(board.routes))
    for _ in range(12):
        position = rng.randrange(len(board.routes))
        row = rng.randrange(len(board.routes[position]))
        promised = selection.alternatives(position)[row]
        selection.take(position, row)
        fresh = Selection(board, selection.rows)
        assert selection.figures().tolist() == pytest.approx(promised.tolist(), abs=1e-9)
        for other in range(len(board.routes)):
            assert np.allclose(selection.alternatives(other), fresh.alternatives(other), rtol=0, atol=1e-12)


def test_each_limit_is_named_with_its_share_for_every_route() -> None:
    """cam's slowest and quickest routes, 12 and 6 ms, beside door's 12 ms."""
    board = full_board(with_budgets(two_apps(utilisation_cap=0.2), cam=10.0, door=500.0))
    found = dict(Selection(board, [0, 0]).excesses(0))
    assert found.keys() == {"memory", "utilisation", "budget:cam"}
    assert found["utilisation"][[0, -1]] == pytest.approx([0.2, 0.0])
    # 13.2 or 7.2 ms of its own, 0.3 ms of overhead, and 4 ms of a block of door.
    assert found["budget:cam"][[0, -1]] == pytest.approx([0.75, 0.15])


def test_windows_that_no_selection_feels_are_left_out() -> None:
    assert len(full_board(two_apps()).contention.app) == 0
    assert set(full_board(with_budgets(two_apps(), cam=15.0)).contention.app.tolist()) == {0}


def test_the_worst_app_counts_only_under_max_fairness() -> None:
    fair = full_board(replace(two_apps(), objective=MAX_FAIRNESS))
    last = len(fair.routes[0]) - 1
    assert Selection(fair, [last, 0]).figures()[-2] == pytest.approx(0.06 / 0.9)
    assert Selection(full_board(two_apps()), [last, 0]).figures()[-2] == 0.0
