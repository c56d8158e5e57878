"""The routes that each app chooses from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.optimizer_instances import instance
from schedulerd.optimizer.candidates import Candidates, candidates_of
from schedulerd.optimizer.diving import Rounded
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.relaxation import guessed
from schedulerd.plan import Route
from tests.optimizer.problems import ROOMY, app_options, graded, option, policy_option, route_of, two_apps


def candidates(problem: Problem, *near: Rounded) -> list[Candidates]:
    return [candidates_of(p, guessed(problem, p.table), near, len(problem.apps)) for p in Memo().prepare(problem)]


def alone(app: AppOptions, **limits: int) -> Problem:
    return Problem((app,), replace(ROOMY, **limits))  # type: ignore[arg-type] # only whole numbers are given here


def test_all_routes_of_a_small_app_that_no_other_betters_are_there() -> None:
    """Of 27 routes each saves as much time as it costs accuracy, so those with equal steps are equal."""
    (found,) = candidates(alone(app_options("cam", graded("cam"))))
    assert found.rest == np.inf
    assert sorted(set(found.routes.loss.round(6))) == pytest.approx([0.01 * steps for steps in range(7)])


def test_routes_that_break_the_floor_are_not() -> None:
    (found,) = candidates(alone(app_options("cam", graded("cam"), floor=0.88)))
    assert found.routes.loss.max() == pytest.approx(0.02)
    assert found.routes.loss.min() == 0.0


def test_where_every_route_breaks_the_floor_the_most_accurate_ones_are_left() -> None:
    block = (option("poor", 1.0, 0.05), option("poorer", 0.5, 0.1))
    (found,) = candidates(alone(app_options("cam", (block, block), floor=0.9)))
    assert found.routes.loss == pytest.approx([0.1])


def test_the_quickest_route_is_there_and_known() -> None:
    policies = (policy_option(3, {}, head_ms=0.1), policy_option(3, {}, 0.2, cap=1, head_ms=0.1))
    (found,) = candidates(alone(app_options("cam", graded("cam"), policies=policies)))
    assert found.routes.tail_ms[found.fastest] == found.routes.tail_ms.min() == pytest.approx(2 * 2.4 + 0.2)
    assert found.routes.policy[found.fastest] == 1


def test_what_runs_is_there_though_others_better_it() -> None:
    blocks = ((option("good", 1.0, 0.0), option("bad", 2.0, 0.1)), (option("only", 1.0, 0.0),))
    cam = app_options("cam", blocks)
    problem = alone(replace(cam, running=route_of(cam, [1, 0])))
    (found,) = candidates(replace(problem, swap_cost=0.01))
    assert found.running is not None
    assert found.routes.loss[found.running] == pytest.approx(0.1)
    (without,) = candidates(alone(cam))
    assert (without.running, len(without.routes)) == (None, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"variants": ("cam0v0", "gone", "cam2v0")},
        {"digests": ("blob-cam0v0", "gone", "blob-cam2v0")},
        {"variants": ("cam0v0",), "digests": ("blob-cam0v0",)},
        {"policy": policy_option(3, {0: 0.5}).policy},
    ],
)
def test_what_runs_and_is_offered_no_more_is_no_candidate(change: dict[str, object]) -> None:
    cam = two_apps().apps[0]
    cam = replace(cam, policies=(policy_option(3, {}),))
    running: Route = replace(route_of(cam, [0, 0, 0], cam.policies[0]), **change)  # type: ignore[arg-type] # by name
    (found,) = candidates(alone(replace(cam, running=running)))
    assert found.running is None


def test_routes_that_are_asked_for_are_there_unless_the_floor_forbids_them() -> None:
    cam = app_options("cam", graded("cam"))
    asked: list[Rounded] = [(0, [2, 1, 0]), (0, [0, 0, 1])]
    (found,) = candidates(alone(cam), *asked)
    assert [found.routes.picks[row].tolist() for row in found.near if row is not None] == [[2, 1, 0], [0, 0, 1]]
    (strict,) = candidates(alone(replace(cam, app=replace(cam.app, accuracy_floor=0.89))), *asked)
    assert [row is None for row in strict.near] == [True, False]


def test_of_too_many_routes_the_cheapest_are_there_and_what_others_cost_is_known() -> None:
    """8 blocks of 8 variants: of 16 million routes a hundred for each of four apps, and the quickest."""
    problem = instance(0, 4, 8, 8)
    free = tuple(replace(app, app=replace(app.app, accuracy_floor=0.0)) for app in problem.apps)
    problem = replace(problem, apps=free)
    for p, found in zip(Memo().prepare(problem), candidates(problem), strict=True):
        priced = guessed(problem, p.table)
        costs = priced.costs[0, np.arange(p.table.blocks), found.routes.picks].sum(axis=1)
        assert p.routes is None
        assert 100 <= len(found.routes) <= 102
        assert (costs <= found.rest + 1e-9).sum() >= 100
