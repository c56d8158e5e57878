"""What a route is worth under each objective, in shares of an app."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.cost import Swapping, policies_of, route_cost
from schedulerd.optimizer.objectives import MAX_ACCURACY, MAX_FAIRNESS, MIN_ENERGY, MIN_LATENCY, OBJECTIVES
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.routes import every_route
from schedulerd.optimizer.tables import table_of
from schedulerd.optimizer.worth import TIE_BREAK, is_fair, worths
from tests.optimizer.brute import every_choice, value
from tests.optimizer.problems import dressed, random_problem, two_apps, with_budgets, with_policies

UNSWAPPED = Swapping(0.0, frozenset())


def worth_of(problem: Problem, position: int, picks: tuple[int, ...]) -> float:
    app = problem.apps[position]
    return worths(problem)[position].of_cost(route_cost(app, picks, policies_of(app)[0], UNSWAPPED))


def tie_break(problem: Problem) -> float:
    """The most that the other objective counts."""
    return TIE_BREAK * sum(app.app.priority for app in problem.apps)


def test_losing_all_accuracy_is_one_unit_of_priority_one() -> None:
    problem = two_apps()
    cam = replace(problem.apps[0], full_accuracy=0.06)  # all variants at their worst lose 6 points
    lost = worth_of(replace(problem, apps=(cam, problem.apps[1])), 0, (2, 2, 2))
    assert lost == pytest.approx(cam.app.priority, abs=tie_break(problem))


def test_taking_the_whole_budget_is_one_unit_of_priority_one() -> None:
    problem = replace(with_budgets(two_apps(), cam=12.0), objective=MIN_LATENCY)
    assert worth_of(problem, 0, (0, 0, 0)) == pytest.approx(8.0)
    assert worth_of(problem, 0, (2, 2, 2)) == pytest.approx(4.0, abs=tie_break(problem))


def test_drawing_what_the_originals_draw_is_all_units_there_are() -> None:
    """Whoever draws it: cam and door take as much each, although one matters more than twice as much."""
    problem = replace(two_apps(), objective=MIN_ENERGY)
    assert worth_of(problem, 0, (0, 0, 0)) == worth_of(problem, 1, (0, 0, 0)) == pytest.approx((8 + 3) / 2)
    assert worth_of(problem, 1, (2, 2, 2)) == pytest.approx((8 + 3) / 4, abs=tie_break(problem))


def test_fairness_sums_what_accuracy_sums() -> None:
    fair, accurate = (replace(two_apps(), objective=objective) for objective in (MAX_FAIRNESS, MAX_ACCURACY))
    assert worths(fair) == worths(accurate)
    assert (is_fair(fair), is_fair(accurate)) == (True, False)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(6))
def test_the_sum_over_the_apps_is_the_objectives_definition(seed: int, objective: str) -> None:
    plain = with_policies(random_problem(seed, blocks=2, variants=2), seed, 2)
    problem = dressed(plain, seed, objective=objective)
    problem = replace(problem, apps=tuple(replace(app, pins=(), pinned_exits=()) for app in problem.apps))
    worth = worths(problem)

    def cost(app: AppOptions, position: int, way: object) -> float:
        options, policy = way.options, way.policy or policies_of(app)[0]  # type: ignore[attr-defined] # a `Way`
        picks = [app.blocks[b].index(o) for b, o in enumerate(options)]
        picks += [0] * (len(app.blocks) - len(picks))
        return worth[position].of_cost(route_cost(app, picks, policy, Swapping.of(problem)))

    for chosen in every_choice(problem):
        total = sum(cost(app, p, way) for p, (app, way) in enumerate(zip(problem.apps, chosen, strict=True)))
        assert total == pytest.approx(value(problem, chosen), abs=2 * tie_break(problem))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_routes_in_arrays_are_worth_what_single_ones_are(objective: str) -> None:
    problem = replace(two_apps(), objective=objective)
    table = table_of(problem.apps[0], frozenset())
    routes = every_route(table)
    found = worths(problem)[0].of(routes)
    assert found.tolist() == pytest.approx([worth_of(problem, 0, tuple(picks)) for picks in routes.picks.tolist()])


def test_among_equals_in_accuracy_the_quicker_is_worth_more() -> None:
    problem = two_apps()
    app, (worth, _) = problem.apps[0], worths(problem)
    cost = route_cost(app, (0, 0, 0), policies_of(app)[0], UNSWAPPED)
    gained = worth.of_cost(cost) - worth.of_cost(replace(cost, expected_ms=cost.expected_ms - 1.0))
    assert 0.0 < gained < TIE_BREAK
