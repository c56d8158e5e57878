"""The relaxation undercuts every plan there is, whatever it went on from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from blockstore.accuracy_model import KINDS, LOGISTIC
from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.curve import tangents
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.objectives import MAX_FAIRNESS, OBJECTIVES
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.relaxation import Relaxed, guessed, relax, rounded
from schedulerd.optimizer.routes import every_route
from schedulerd.optimizer.tables import table_of
from schedulerd.optimizer.variations import pinned
from schedulerd.optimizer.worth import TIE_BREAK, worths
from tests.optimizer.brute import exhaustive
from tests.optimizer.problems import (
    accuracy_model,
    app_options,
    dressed,
    graded,
    random_problem,
    two_apps,
    with_arenas,
    with_budgets,
    with_policies,
)

TIME_LIMIT_S = 10.0
ROOM = 2e-6
"""Rounding of the linear program's solver, as a share of a limit or of an app."""


def small(seed: int) -> Problem:
    """Of every kind, in turn."""
    apps = 3 if seed % 3 == 0 else 2
    plain = random_problem(seed, apps=apps, blocks=2, variants=4 - apps // 2, tightness=(seed % 11) / 10)
    plain = with_policies(plain, seed, 3) if seed % 2 else plain
    problem = dressed(with_arenas(plain, seed) if seed % 4 < 2 else plain, seed, objective=OBJECTIVES[seed // 3 % 4])
    return replace(problem, apps=tuple(map(pinned, problem.apps)))


def relaxed_of(problem: Problem, memo: Memo | None = None) -> Relaxed:
    memo = memo or Memo()
    found = relax(problem, [p.table for p in memo.prepare(problem)], memo, TIME_LIMIT_S)
    assert found is not None
    return found


def assert_undercuts(relaxed: Relaxed, problem: Problem) -> None:
    """Rank by rank, as long as the ranks before are exceeded by just as much; then the worst app, then the value."""
    excesses, worst, value = exhaustive(problem)
    for rank, reached in enumerate(excesses):
        least = relaxed.least_excess.get(rank, 0.0)
        assert least <= reached + ROOM
        if least < reached - ROOM:
            return
    assert relaxed.worst_share <= worst + ROOM
    if relaxed.worst_share > worst - ROOM:
        tie_break = TIE_BREAK * sum(app.app.priority for app in problem.apps)
        assert relaxed.value <= value + tie_break + ROOM


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_undercuts_the_relaxation(seed: int) -> None:
    problem = small(seed)
    assert_undercuts(relaxed_of(problem), problem)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cosines", [(-0.6, 0.0), (0.0, 0.6)])
@pytest.mark.parametrize("seed", range(6))
def test_no_plan_undercuts_it_whatever_the_cosines(seed: int, cosines: tuple[float, float], kind: str) -> None:
    """Damages that undo each other lose less than their sum, and that is what has to be undercut."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    plain = replace(random_problem(seed, tightness=0.6), objective=OBJECTIVES[seed % 4])
    modelled = (replace(a, accuracy=accuracy_model(rng, 3, 3, kind=kind, cosines=cosines)) for a in plain.apps)
    problem = replace(plain, apps=tuple(modelled))
    assert_undercuts(relaxed_of(problem), problem)


def test_it_is_the_value_itself_where_one_option_is_left_of_everything() -> None:
    cam = app_options("cam", graded("cam", variants=1))
    problem = replace(two_apps(), apps=(cam,))
    (worth,) = worths(problem)
    assert relaxed_of(problem).value == pytest.approx(worth.expected * 12.0)


def test_what_has_to_be_exceeded_is_said_by_rank() -> None:
    """cam needs 7.2 ms, 0.3 ms of overhead and 2 ms of a block of door, whatever happens."""
    assert relaxed_of(with_budgets(two_apps(), cam=5.0)).least_excess == {6: pytest.approx(0.9)}
    assert relaxed_of(with_budgets(two_apps(), cam=9.5)).least_excess == {}
    assert relaxed_of(two_apps(memory_bytes=10_000_000)).least_excess == {1: pytest.approx(0.2)}


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_with_a_route_costs_at_least_what_the_route_costs_beyond_the_best(seed: int) -> None:
    """Reduced costs of what a route takes add up; what keeps the limits pays them on top of the bound."""
    problem, memo = small(seed), Memo()
    tables = [p.table for p in memo.prepare(problem)]
    relaxed = relax(problem, tables, memo, TIME_LIMIT_S)
    assert relaxed is not None
    if relaxed.least_excess or problem.objective == MAX_FAIRNESS:
        return
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    routes = [every_route(table) for table in tables]
    values = [worth.of(each) for worth, each in zip(worths(problem), routes, strict=True)]
    for _ in range(300):
        rows = [rng.randrange(len(each)) for each in routes]
        taken = [
            (table, each.policy[row], each.picks[row]) for table, each, row in zip(tables, routes, rows, strict=True)
        ]
        picks = [table.index[np.arange(table.blocks), places].tolist() for table, _, places in taken]
        if not choose(problem, picks, [int(table.numbers[place]) for table, place, _ in taken]).broken():
            value = sum(of[row] for of, row in zip(values, rows, strict=True))
            beyond = [
                priced.policy_costs[place] + priced.costs[place, np.arange(table.blocks), places].sum()
                for priced, (table, place, places) in zip(relaxed.apps, taken, strict=True)
            ]
            assert value >= relaxed.value + sum(beyond) - 1e-5


def budgets(rng: random.Random, problem: Problem) -> Problem:
    factors = {a.app.app_id: a.app.budget_ms * rng.uniform(0.5, 2.0) for a in problem.apps}
    return with_budgets(problem, **factors)


def swaps(rng: random.Random, problem: Problem) -> Problem:
    return replace(problem, swap_cost=rng.choice([0.0, 0.01, 0.1]))


def limits(rng: random.Random, problem: Problem) -> Problem:
    memory_bytes = int(problem.limits.memory_bytes * rng.uniform(0.6, 1.5))
    return replace(problem, limits=replace(problem.limits, memory_bytes=memory_bytes))


def objectives(rng: random.Random, problem: Problem) -> Problem:
    return replace(problem, objective=rng.choice(OBJECTIVES))


@pytest.mark.parametrize("edit", [budgets, swaps, limits, objectives])
@pytest.mark.parametrize("seed", range(6))
def test_going_on_with_the_program_of_before_gives_what_a_new_one_gives(
    seed: int, edit: Callable[[random.Random, Problem], Problem]
) -> None:
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    problem, memo = small(seed), Memo()
    for _ in range(5):
        kept, fresh = relaxed_of(problem, memo), relaxed_of(problem)
        assert kept.value == pytest.approx(fresh.value, abs=1e-6)
        assert kept.worst_share == pytest.approx(fresh.worst_share, abs=1e-6)
        assert kept.least_excess == pytest.approx(fresh.least_excess, abs=1e-6)
        rounded(kept, memo, TIME_LIMIT_S)
        problem = edit(rng, problem)


def test_a_program_is_gone_on_with_where_only_budgets_differ() -> None:
    memo, problem = Memo(), two_apps(utilisation_cap=0.2)
    relaxed_of(problem, memo)
    before = memo.program
    relaxed_of(with_budgets(problem, cam=20.0), memo)
    assert memo.program is before
    relaxed_of(two_apps(utilisation_cap=0.15), memo)
    assert memo.program is not before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_the_lines_below_the_curve_of_an_accuracy_model_are_below_it(seed: int, kind: str) -> None:
    """Anywhere, be the curve bent up or down there."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    model = accuracy_model(rng, 3, 4, kind=kind)
    app = replace(app_options("cam", graded("cam", variants=4)), accuracy=model)
    lines = tangents(table_of(app, frozenset()))
    most = sum(max(row) for row in model.damages)
    for joined in np.linspace(0.0, most, 997):
        loss = model.original - model.left_by([joined, 0.0, 0.0])
        assert max(slope * joined + at_zero for slope, at_zero in lines) <= loss + 2e-7


def test_the_lines_touch_the_curve_at_nothing_and_at_most() -> None:
    model = accuracy_model(random.Random(1), 3, 4, kind=LOGISTIC)  # noqa: S311 - draws test data, not secrets
    app = replace(app_options("cam", graded("cam", variants=4)), accuracy=model)
    lines = tangents(table_of(app, frozenset()))
    most = sum(max(row) for row in model.damages)
    for joined in (0.0, most):
        loss = model.original - model.left_by([joined, 0.0, 0.0])
        assert max(slope * joined + at_zero for slope, at_zero in lines) == pytest.approx(loss, abs=1e-3)


def test_without_a_relaxation_prices_are_guessed_and_rise_with_all_that_is_short() -> None:
    problem = two_apps(utilisation_cap=0.2)
    priced = guessed(problem, table_of(problem.apps[0], frozenset()))
    assert priced.pressure.shape == (1, 3, 3)
    assert (np.diff(priced.pressure, axis=2) < 0).all(), "each variant is quicker and smaller than the one before"
    assert (priced.costs >= priced.pressure).all()
