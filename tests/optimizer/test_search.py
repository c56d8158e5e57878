"""The search over routes: never worse than where it began, excesses come down, and what it is good for."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from schedulerd.optimizer.board import Board, Selection
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.search import best_row, better, improved, repaired, search, shaken
from schedulerd.optimizer.tables import Floats
from tests.optimizer.problems import (
    ROOMY,
    app_options,
    option,
    policy_option,
    random_problem,
    with_arenas,
    with_policies,
)
from tests.optimizer.test_board import full_board, random_board


def no_prices(board: Board) -> list[Floats]:
    return [np.zeros(len(routes)) for routes in board.routes]


def searched(problem: Problem) -> Selection:
    """From the slowest routes, which is the worst place, without any prices."""
    board = full_board(problem)
    return search(
        board,
        no_prices(board),
        [[int(r.tail_ms.argmax()) for r in board.routes]],
        [int(r.tail_ms.argmin()) for r in board.routes],
        {},
    )


def variants(selection: Selection) -> list[list[str]]:
    """What every app runs, block by block."""
    board = selection.board
    return [
        [
            app.blocks[b][pick].variant
            for b, pick in enumerate(routes.picks[row][: table.depth[routes.policy[row]]].tolist())
        ]
        for app, table, routes, row in zip(board.problem.apps, board.tables, board.routes, selection.rows, strict=True)
    ]


@pytest.mark.parametrize(
    ("change", "comes_first"),
    [
        ([-0.01, 0.0, 0.0, 0.0], True),
        ([-0.01, 0.5, 0.0, 9.0], True),
        ([0.01, -0.5, 0.0, -9.0], False),
        ([0.0, 0.0, 0.0, -1e-8], True),
        ([5e-7, 0.0, 0.0, 0.0], False),
        ([5e-7, 0.0, 0.0, -0.1], True),
        ([0.0, 0.0, 0.0, 0.0], False),
    ],
)
def test_the_first_figure_that_differs_by_more_than_rounding_decides(change: list[float], comes_first: bool) -> None:
    """Excesses are equal where a solver would call them so; the worst share and the value nearly exactly."""
    base = np.array([0.1, 0.0, 0.2, 3.0])
    assert better(base + np.array(change), base) == comes_first


def test_the_best_row_is_the_one_that_comes_first() -> None:
    rows = np.array([[0.2, 0.0, 0.0, 1.0], [0.1, 0.3, 0.0, 9.0], [0.1, 0.2, 0.0, 5.0], [0.1, 0.2, 0.0, 4.0]])
    assert best_row(rows) == 3
    assert best_row(rows[:3]) == 2
    assert best_row(np.repeat(rows[:1], 3, axis=0)) == 0


@pytest.mark.parametrize("seed", range(14))
def test_a_search_is_never_worse_than_any_place_where_it_began(seed: int) -> None:
    board = random_board(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    starts = [[rng.randrange(len(routes)) for routes in board.routes] for _ in range(3)]
    pressures = [np.array([rng.random() for _ in range(len(routes))]) for routes in board.routes]
    found = search(board, pressures, starts[:2], starts[2], {}).figures()
    for rows in starts[:2]:
        assert not better(Selection(board, rows).figures(), found)


@pytest.mark.parametrize("seed", range(14))
def test_improving_repairing_and_shaking_never_make_it_worse_and_say_what_they_reached(seed: int) -> None:
    board = random_board(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    selection = Selection(board, [rng.randrange(len(routes)) for routes in board.routes])
    for step in (repaired, improved):
        before = selection.figures()
        reached = step(selection)
        assert reached.tolist() == pytest.approx(selection.figures().tolist(), abs=1e-9)
        if step is improved:
            assert not better(before, reached)
    again = shaken(selection, no_prices(board))
    assert not better(selection.figures(), again.figures())


@pytest.mark.parametrize("seed", range(14))
def test_repairing_never_exceeds_a_limit_of_an_earlier_rank_further(seed: int) -> None:
    board = random_board(seed)
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    selection = Selection(board, [rng.randrange(len(routes)) for routes in board.routes])
    before = selection.figures()[:-2]
    after = repaired(selection)[:-2]
    differs = np.flatnonzero(np.abs(after - before) > 1e-5)
    assert not len(differs) or after[differs[0]] < before[differs[0]]


def test_an_improved_selection_cannot_be_bettered_by_one_app_alone() -> None:
    board = random_board(3)
    selection = Selection(board, [0] * len(board.routes))
    figures = improved(selection)
    for position in range(len(board.routes)):
        alternatives = selection.alternatives(position)
        assert not any(better(row, figures) for row in alternatives)


def test_two_apps_that_have_to_move_together_are_shaken_loose() -> None:
    """Only one of both fits as `large`. cam has it, door would gain more by it; neither gains by moving alone."""

    def app(app_id: str, priority: int) -> object:
        large = option(f"{app_id}-large", 1.0, 0.0, memory_bytes=3_000_000)
        return app_options(
            app_id, ((large, option(f"{app_id}-small", 1.0, 0.1, memory_bytes=1_000_000)),), priority=priority
        )

    board = full_board(Problem((app("cam", 2), app("door", 9)), replace(ROOMY, memory_bytes=4_000_000)))
    stuck = Selection(board, [0, 1])
    assert not better(improved(stuck), Selection(board, [0, 1]).figures())
    assert variants(shaken(stuck, no_prices(board))) == [["cam-small"], ["door-large"]]


def test_the_route_that_saves_enough_for_the_least_accuracy_is_taken() -> None:
    """One ms is wanted. `cheap` gives it for half the accuracy that `dear` takes."""
    blocks = (
        (option("a", 4.0, 0.0), option("dear", 3.0, 0.02)),
        (option("b", 4.0, 0.0), option("cheap", 3.0, 0.01)),
    )
    assert variants(searched(Problem((app_options("cam", blocks, budget_ms=7.3),), ROOMY))) == [["a", "cheap"]]


def test_nothing_is_left_that_turned_out_to_be_unnecessary() -> None:
    """`small` saves best per accuracy but not enough; `tiny` has to come anyway and then suffices alone."""
    blocks = (
        (option("a", 4.0, 0.0), option("small", 3.0, 0.001)),
        (option("b", 9.0, 0.0), option("tiny", 4.0, 0.02)),
    )
    assert variants(searched(Problem((app_options("cam", blocks, budget_ms=8.3),), ROOMY))) == [["a", "tiny"]]


def test_another_apps_longest_block_is_shortened_where_that_is_cheaper() -> None:
    """cam misses by 0.9 ms. Its own step would do, but door's long block, which it waits for, costs less to shorten."""
    cam = app_options("cam", ((option("own", 2.0, 0.0), option("poor", 1.0, 0.2)),), budget_ms=9.4, priority=9)
    door = app_options("door", ((option("long", 8.0, 0.0), option("short", 2.0, 0.05)), (option("tail", 1.0, 0.0),)))
    found = searched(Problem((cam, door), ROOMY))
    assert variants(found) == [["own"], ["short", "tail"]]
    assert not found.figures()[:-2].any()


def test_an_urgent_apps_whole_route_is_shortened_where_that_is_cheaper() -> None:
    """cam misses by 0.9 ms and waits for all of the urgent door; a block that is not door's longest costs least."""
    fixed = (option("fixed", 2.0, 0.0),)
    cam = app_options("cam", ((option("own", 2.0, 0.0), option("poor", 1.0, 0.2)), fixed), budget_ms=12.4, priority=9)
    blocks = ((option("long", 6.0, 0.0),), (option("tail", 3.0, 0.0), option("short", 1.0, 0.05)))
    found = searched(Problem((cam, app_options("door", blocks, budget_ms=11.5)), ROOMY))
    assert variants(found) == [["own", "fixed"], ["long", "short"]]


def test_removing_one_user_of_a_shared_blob_frees_nothing() -> None:
    """Only the step that gives up a blob of its own helps under the limit on memory."""
    shared = option("shared", 4.0, 0.0, memory_bytes=5_000_000, digest="same")
    own = option("own", 4.0, 0.0, memory_bytes=4_000_000)
    small = option("small", 3.0, 0.02, memory_bytes=1_000_000)
    cam = app_options("cam", ((shared, option("small-cam", 3.0, 0.001, memory_bytes=1_000_000)), (own, small)))
    door = app_options("door", ((shared,),))
    found = searched(Problem((cam, door), replace(ROOMY, memory_bytes=6_500_000)))
    assert variants(found) == [["shared", "small"], ["shared"]]


def test_smaller_activations_help_only_where_nobody_elses_are_larger() -> None:
    """2 MB are wanted: cam's smaller activations would cost less accuracy, but door's are the larger ones."""
    cam = (option("cam", 2.0, 0.0, arena_bytes=6_000_000), option("cam-less", 2.0, 0.001, arena_bytes=1_000_000))
    door = (option("door", 2.0, 0.0, arena_bytes=9_000_000), option("door-less", 2.0, 0.02, arena_bytes=5_000_000))
    apps = (app_options("cam", (cam,)), app_options("door", (door,)))
    assert variants(searched(Problem(apps, replace(ROOMY, memory_bytes=9_000_000)))) == [["cam"], ["door-less"]]


def test_a_policy_that_leaves_early_is_a_step_like_any_other() -> None:
    """2.4 ms on average are to go. The exit behind the first block saves 5 ms for less than the option that saves 3."""
    blocks = ((option("a", 4.0, 0.0), option("small", 1.0, 0.02)), (option("b", 8.0, 0.0),))
    policies = (policy_option(2, {}), policy_option(2, {0: 0.625}, 0.01))
    app = app_options("cam", blocks, rate_hz=100.0, policies=policies)
    found = searched(Problem((app,), replace(ROOMY, utilisation_cap=0.96)))
    assert variants(found) == [["a", "b"]]
    assert found.board.routes[0].policy[found.rows[0]] == 1


def test_a_budget_that_the_exit_alone_meets_caps_the_depth() -> None:
    """Leaving early shortens no worst path: only the cap helps."""
    blocks = ((option("a", 4.0, 0.0),), (option("b", 8.0, 0.0),))
    policies = (
        policy_option(2, {}, head_bytes=1000),
        policy_option(2, {0: 0.9}, 0.01, head_ms=0.1, head_bytes=1000),
        policy_option(2, {}, 0.05, cap=0, head_ms=0.1, head_bytes=1000),
    )
    found = searched(Problem((app_options("cam", blocks, budget_ms=6.0, policies=policies),), ROOMY))
    assert variants(found) == [["a"]]
    assert not found.figures()[:-2].any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_searches_for_the_same_find_the_same(objective: str) -> None:
    plain = with_arenas(with_policies(random_problem(8, apps=3, tightness=0.6), 8, 3), 8)
    problem = replace(plain, objective=objective)
    assert searched(problem).rows == searched(problem).rows
