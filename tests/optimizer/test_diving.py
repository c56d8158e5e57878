"""Rounding the relaxation: whole routes, near its solution, whatever it is about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.optimizer_instances import instance
from schedulerd.optimizer.board import Selection, board_of
from schedulerd.optimizer.diving import Rounded
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.relaxation import Relaxed, relax, rounded
from schedulerd.optimizer.routes import routes_of
from schedulerd.optimizer.tables import Table
from tests.optimizer.problems import dressed, random_problem, two_apps, with_arenas, with_policies

TIME_LIMIT_S = 10.0


def rounded_of(problem: Problem) -> tuple[list[Table], Relaxed, tuple[Rounded, ...]]:
    memo = Memo()
    tables = [p.table for p in memo.prepare(problem)]
    relaxed = relax(problem, tables, memo, TIME_LIMIT_S)
    assert relaxed is not None
    return tables, relaxed, rounded(relaxed, memo, TIME_LIMIT_S)


@pytest.mark.parametrize("seed", range(20))
def test_what_comes_out_is_a_route_of_every_app(seed: int) -> None:
    plain = with_policies(random_problem(seed, apps=3, tightness=(seed % 11) / 10), seed, 1 + seed % 4)
    problem = dressed(with_arenas(plain, seed), seed, objective=OBJECTIVES[seed % 4])
    problem = replace(problem, apps=tuple(replace(app, pins=(), pinned_exits=()) for app in problem.apps))
    tables, _, found = rounded_of(problem)
    assert len(found) == len(tables)
    for table, (policy, picks) in zip(tables, found, strict=True):
        assert 0 <= policy < len(table.numbers)
        assert len(picks) == table.blocks
        assert all(0 <= pick < count for pick, count in zip(picks, table.counts, strict=True))
        assert not any(picks[table.depth[policy] :]), "nothing is said past the depth"


def test_a_solution_without_parts_is_taken_as_it_is() -> None:
    """20% of a lane for 24% of work: 4 ms less for door, which counts less, and every step is a whole one."""
    _, relaxed, found = rounded_of(two_apps(utilisation_cap=0.2))
    (cam, door) = found
    assert cam == (0, [0, 0, 0])
    assert sum(door[1]) == 4
    assert relaxed.least_excess == {}


@pytest.mark.parametrize("seed", range(4))
def test_it_is_near_the_relaxation_and_exceeds_little(seed: int) -> None:
    problem = instance(seed, 4, 8, 8)
    tables, relaxed, found = rounded_of(problem)
    pairs = list(zip(tables, found, strict=True))
    routes = [routes_of(table, np.array([policy]), np.array([picks])) for table, (policy, picks) in pairs]
    figures = Selection(board_of(problem, tables, routes), [0] * len(routes)).figures()
    weights = sum(app.app.priority for app in problem.apps)
    assert (figures[-1] - relaxed.value) / weights < 0.05
    assert figures[:-2].sum() < 0.2
