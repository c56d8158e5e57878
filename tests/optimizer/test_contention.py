"""Who waits for whom: whole requests of more urgent apps, one block of less urgent ones, and simulation agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.choice import Choice, choose
from schedulerd.optimizer.problem import AppOptions, Problem
from tests.optimizer.problems import ROOMY, app_options, option
from tests.optimizer.simulation import p95s_ms, random_board

OVERHEAD_MS = ROOMY.overhead_ms


def app(app_id: str, *blocks_ms: float, budget_ms: float, rate_hz: float = 10.0) -> AppOptions:
    """An app of one route, whose blocks take these times at p95 too."""
    blocks = tuple((option(f"{app_id}{b}", ms, 0.0),) for b, ms in enumerate(blocks_ms))
    return app_options(app_id, blocks, budget_ms=budget_ms, rate_hz=rate_hz)


def only_choice(problem: Problem) -> Choice:
    return choose(problem, [[0] * len(a.blocks) for a in problem.apps])


def waits_ms(*apps: AppOptions, lanes: int = 1) -> list[float]:
    """What each app's prediction holds beside its own blocks and the overhead."""
    choice = only_choice(Problem(apps, replace(ROOMY, lanes=lanes)))
    return [choice.p95_ms(p) - cost.p95_ms - OVERHEAD_MS for p, cost in enumerate(choice.costs)]


def test_a_less_urgent_app_waits_for_the_whole_urgent_request_and_the_urgent_one_for_a_block() -> None:
    cam, door = app("cam", 3.0, 5.0, 4.0, budget_ms=40.0), app("door", 2.0, 7.0, 6.0, budget_ms=80.0)
    assert waits_ms(cam, door) == pytest.approx([7.0, 12.0])
    assert waits_ms(door, cam) == pytest.approx([12.0, 7.0])


def test_of_several_less_urgent_apps_one_block_counts_and_of_several_urgent_ones_every_request() -> None:
    cam = app("cam", 3.0, budget_ms=40.0)
    door, gate = app("door", 2.0, 7.0, budget_ms=80.0), app("gate", 6.0, 1.0, budget_ms=90.0)
    assert waits_ms(cam, door, gate) == pytest.approx([7.0, 3.0 + 6.0, 3.0 + 9.0])


def test_an_app_of_a_large_budget_lets_several_urgent_requests_past() -> None:
    """At 20 Hz two requests of 5 ms are due by 80 ms (at 20 and 70), three by 120 ms exactly."""
    cam = app("cam", 5.0, budget_ms=20.0, rate_hz=20.0)
    assert waits_ms(cam, app("door", 2.0, budget_ms=80.0))[1] == pytest.approx(10.0)
    assert waits_ms(cam, app("door", 2.0, budget_ms=120.0))[1] == pytest.approx(15.0)
    assert waits_ms(cam, app("door", 2.0, budget_ms=119.9))[1] == pytest.approx(15.0 - 0.1)


def test_apps_of_equal_budgets_wait_for_each_other() -> None:
    assert waits_ms(app("cam", 3.0, 5.0, budget_ms=40.0), app("door", 2.0, 9.0, budget_ms=40.0)) == pytest.approx(
        [11.0, 8.0]
    )


def test_a_slightly_larger_budget_comes_first_when_its_request_came_earlier() -> None:
    """door's request of 11 ms came 1 ms before cam's and is due with it: 10 ms are left, not one block."""
    assert waits_ms(app("cam", 3.0, budget_ms=40.0), app("door", 5.0, 6.0, budget_ms=41.0))[0] == pytest.approx(10.0)


def test_an_apps_own_earlier_request_counts_where_others_have_kept_it_waiting() -> None:
    """cam comes every 20 ms. Behind 30 ms of door its earlier request is still open: 30 + 8 - 20 = 18 ms."""
    cam = app("cam", 4.0, 4.0, budget_ms=100.0, rate_hz=50.0)
    door = app("door", *[5.0] * 6, budget_ms=99.0, rate_hz=5.0)
    assert waits_ms(cam, door)[0] == pytest.approx(30.0)
    late = app("door", *[5.0] * 6, budget_ms=115.0, rate_hz=5.0)
    assert waits_ms(cam, late)[0] == pytest.approx(30.0 + 8.0 - 20.0)


def test_apps_that_fewer_than_one_request_in_twenty_meets_do_not_count() -> None:
    """At 0.4 Hz a request meets 4% of those with 100 ms; two such apps meet 8%, and neither is left out."""
    cam = app("cam", 3.0, budget_ms=100.0)
    rare = app("rare", 20.0, 30.0, budget_ms=50.0, rate_hz=0.4)
    assert waits_ms(cam, rare)[0] == pytest.approx(0.0)
    assert waits_ms(cam, replace(rare, app=replace(rare.app, rate_hz=0.6)))[0] == pytest.approx(50.0)
    other = replace(rare, app=replace(rare.app, app_id="other"))
    assert waits_ms(cam, rare, other)[0] == pytest.approx(100.0)


def test_a_rare_app_that_is_open_for_long_is_in_the_way_of_an_urgent_one() -> None:
    """At 2 Hz and 400 ms it is open most of the time, although few of its requests come within cam's 5 ms."""
    cam, long = app("cam", 1.0, budget_ms=5.0), app("long", *[40.0] * 4, budget_ms=400.0, rate_hz=2.0)
    assert waits_ms(cam, long)[0] == pytest.approx(40.0)


def test_lanes_share_the_requests_that_come_first_but_not_a_block() -> None:
    cam, door = app("cam", 4.0, 4.0, budget_ms=40.0), app("door", 2.0, 6.0, budget_ms=80.0)
    assert waits_ms(cam, door, lanes=2) == pytest.approx([6.0, 4.0])


def test_simulated_boards_keep_to_the_prediction_and_not_to_one_block_each() -> None:
    """The 95th percentile of every app, in a queue as the lane's, with overhead and spread left out on both sides."""
    simulated = beyond_one_block = 0
    for lanes, seeds in ((1, range(200)), (2, range(100))):
        for seed in seeds:
            problem = random_board(seed, lanes)
            choice = only_choice(problem)
            if choice.broken():
                continue
            longest_ms = [cost.longest_ms for cost in choice.costs]
            for position, p95_ms in enumerate(p95s_ms(problem, seed)):
                assert p95_ms <= choice.p95_ms(position) * (1 + 1e-9), f"seed {seed}, {lanes} lanes, app {position}"
                others_ms = [ms for p, ms in enumerate(longest_ms) if p != position]
                beyond_one_block += p95_ms > choice.costs[position].p95_ms + max(others_ms)
                simulated += 1
    assert simulated > 150
    assert beyond_one_block > simulated / 4
