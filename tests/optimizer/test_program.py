"""The integer program over routes: what it minimises, what it holds, and how its solution is read."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from schedulerd.optimizer.board import Board, Selection
from schedulerd.optimizer.objectives import MAX_FAIRNESS, OBJECTIVES
from schedulerd.optimizer.program import VALUE_SCALE, Program
from schedulerd.optimizer.search import best_row
from schedulerd.optimizer.solvers import Cbc, Highs, Solver
from tests.optimizer.problems import dressed, random_problem, two_apps, with_arenas, with_budgets
from tests.optimizer.test_board import full_board

HIGHS = Highs(10.0)


def program_of(board: Board, *, elastic: bool) -> Program:
    return Program(board, elastic=elastic)


def solved(program: Program, board: Board, solver: Solver = HIGHS) -> Selection:
    program.begin_with([0] * len(board.routes))
    answer = solver.run(program.lp, 10.0, feasible=True)
    assert answer.outcome == "optimal"
    return Selection(board, program.solution())


def staged(board: Board, solver: Solver = HIGHS) -> Selection:
    """All stages, each held where it got."""
    program = program_of(board, elastic=True)
    for place, rank in enumerate(board.ranks):
        if rank in program.slacks:
            program.minimise_excess(rank)
            program.hold_excess(rank, float(solved(program, board, solver).figures()[place]))
    if board.problem.objective == MAX_FAIRNESS:
        program.minimise_worst()
        program.hold_worst(float(solved(program, board, solver).figures()[-2]))
    program.minimise_value()
    return solved(program, board, solver)


def best_of_all(board: Board) -> list[float]:
    """The figures of the selection that comes first of all there are."""
    others = itertools.product(*(range(len(routes)) for routes in board.routes[1:]))
    found = [Selection(board, [0, *rows]).alternatives(0) for rows in others]
    figures = np.concatenate(found)
    return [float(figure) for figure in figures[best_row(figures)]]


@pytest.mark.parametrize("seed", range(12))
def test_stage_after_stage_reaches_the_best_selection_of_all(seed: int) -> None:
    plain = with_arenas(random_problem(seed, blocks=2, variants=3, tightness=0.4 + (seed % 7) / 10), seed)
    board = full_board(dressed(plain, seed, objective=OBJECTIVES[seed % 4]))
    assert staged(board).figures().tolist() == pytest.approx(best_of_all(board), abs=3e-5)


def test_both_solvers_read_it_the_same() -> None:
    board = full_board(random_problem(4, blocks=2, variants=3, tightness=0.8))
    assert staged(board, Cbc(10.0)).figures() == pytest.approx(staged(board).figures(), abs=3e-5)


def rows(program: Program) -> set[str]:
    """What its rows are about."""
    return {str(row.name).split(":")[0] for row in program.lp.constraints()}


def test_limits_that_no_route_exceeds_have_no_rows() -> None:
    assert rows(program_of(full_board(two_apps()), elastic=False)) == {"one_of"}
    tight = program_of(full_board(with_budgets(two_apps(utilisation_cap=0.2), cam=15.0)), elastic=False)
    assert {"utilisation", "budget"} <= rows(tight)
    assert "memory" not in rows(tight)


def test_without_slacks_limits_are_hard() -> None:
    board = full_board(two_apps(utilisation_cap=0.2))
    program = program_of(board, elastic=False)
    assert program.slacks == {}
    program.minimise_value()
    assert not solved(program, board).figures()[:-2].any()
    nothing_fits = program_of(full_board(two_apps(utilisation_cap=0.1)), elastic=False)
    nothing_fits.minimise_value()
    assert HIGHS.run(nothing_fits.lp, 10.0, feasible=True).outcome == "infeasible"


def test_the_minimum_is_the_value_in_thousandths() -> None:
    board = full_board(two_apps(utilisation_cap=0.2))
    program = program_of(board, elastic=False)
    program.minimise_value()
    answer = HIGHS.run(program.lp, 10.0, feasible=True)
    assert answer.bound == pytest.approx(VALUE_SCALE * best_of_all(board)[-1], rel=1e-6)


def test_the_worst_app_is_held_while_the_value_is_minimised() -> None:
    """By value alone door, which counts less, would pay all; fairly both lose two points."""
    problem = replace(two_apps(utilisation_cap=0.2), objective=MAX_FAIRNESS)
    fair, board = staged(full_board(problem)), full_board(problem)
    assert [board.routes[a].loss[row] for a, row in enumerate(fair.rows)] == pytest.approx([0.02, 0.02])
