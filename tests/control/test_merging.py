"""Which blocks may be merged: of which routes, and how long a run may be."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockprofiles.record import Row
from blockstore.exits import ExitPolicy
from schedulerd.control.merging import allowed, mergeable, room_ms, runs_of, steady
from schedulerd.merging.verdict import Run
from schedulerd.plan import App, AppPlan, Route

ROUTE = Route("m", ("a", "b", "c"), ("a", "b", "c"))
ROWS = [Row(digest, "onnxruntime", 1, 1.0, 2.0, 1000) for digest in "abc"]
ROOMS = st.one_of(st.just(0.0), st.just(math.inf), st.floats(0.0, 300.0))
TIMES = st.lists(st.floats(0.01, 100), min_size=1, max_size=12)


def test_a_route_without_exits_on_one_engine_may_be_merged() -> None:
    assert mergeable(ROUTE, ROWS)


@pytest.mark.parametrize(
    ("route", "rows"),
    [
        (ROUTE, [*ROWS[:2], replace(ROWS[2], threads=2)]),
        (ROUTE, [replace(row, engine="torch") for row in ROWS]),
        (replace(ROUTE, heads=("h",)), ROWS),
        (replace(ROUTE, policy=ExitPolicy("capped", (("exit1", 0.0),))), ROWS),
        (Route("m", ("a",), ("a",)), ROWS[:1]),
    ],
    ids=["threads differ", "torch", "a head may be asked for", "ends at an exit", "one block"],
)
def test_others_may_not(route: Route, rows: list[Row]) -> None:
    assert not mergeable(route, rows)


def other(
    budget_ms: float, *, priority: int = 5, p95_ms: float = 10.0, percentile: float = 95.0
) -> tuple[App, AppPlan]:
    spec = App("other", "m", budget_ms, 10.0, priority=priority, percentile=percentile)
    return spec, AppPlan("other", ROUTE, 5.0, p95_ms, 0.9, 1000, 0.1, (5.0,))


OURS = App("ours", "m", 50.0, 10.0)


class TestRoom:
    def test_an_app_alone_is_in_nobodys_way(self) -> None:
        assert room_ms(OURS, []) == math.inf

    def test_who_is_due_no_earlier_goes_first_only_where_it_came_first(self) -> None:
        assert room_ms(OURS, [other(50.0), other(90.0)]) == math.inf

    def test_whose_budget_is_shorter_leaves_what_it_has_left(self) -> None:
        assert room_ms(OURS, [other(40.0, p95_ms=12.0), other(49.0, p95_ms=15.0)]) == 28.0

    def test_once_both_are_late_a_higher_priority_goes_first(self) -> None:
        assert room_ms(OURS, [other(60.0, priority=6, p95_ms=55.0)]) == 5.0

    def test_who_is_late_already_leaves_nothing(self) -> None:
        assert room_ms(OURS, [other(40.0, p95_ms=41.0)]) == 0.0

    def test_nothing_is_predicted_beyond_the_95th_percentile(self) -> None:
        assert room_ms(OURS, [other(40.0, percentile=99.0)]) == 0.0
        assert room_ms(OURS, [other(40.0, percentile=90.0)]) == 30.0

    @pytest.mark.parametrize(
        ("room", "used"), [(0.0, 0.0), (math.inf, math.inf), (28.0, 8.0), (33.0, 16.0), (1.0, 0.5)]
    )
    def test_half_of_it_or_less_is_used_in_steps(self, room: float, used: float) -> None:
        assert steady(room) == used

    @given(st.floats(1e-3, 1e4), st.floats(0.9, 1.1))
    def test_what_was_merged_stays_while_the_room_trembles(self, room: float, trembling: float) -> None:
        assert steady(room) <= trembling * room


def test_with_room_for_it_the_whole_route_is_merged() -> None:
    assert runs_of([1.0, 5.0, 1.0], math.inf) == (Run(0, 3),)
    assert runs_of([1.0, 5.0, 1.0], 2.0) == (Run(0, 3),)


def test_without_room_no_run_takes_longer_than_the_longest_block() -> None:
    assert runs_of([1.0, 2.0, 4.0, 3.0, 1.0, 1.0], 0.0) == (Run(0, 2), Run(3, 5))


def test_a_run_outlasts_the_longest_block_by_the_room() -> None:
    assert runs_of([1.0, 2.0, 4.0, 3.0, 1.0, 1.0], 3.0) == (Run(0, 3), Run(3, 6))


def test_blocks_of_equal_length_stay_apart_without_room() -> None:
    assert runs_of([1.0, 1.0, 1.0], 0.0) == ()


@given(TIMES, ROOMS)
def test_runs_are_what_is_allowed_and_never_overlap(block_ms: list[float], room: float) -> None:
    runs = runs_of(block_ms, room)
    assert all(allowed(run, block_ms, room) and run.end - run.first > 1 for run in runs)
    assert all(a.end <= b.first for a, b in pairwise(runs))


@given(TIMES, ROOMS)
def test_no_two_neighbours_that_are_left_apart_could_be_one(block_ms: list[float], room: float) -> None:
    """The stretches are as few as they can be, taken from the front."""
    runs = runs_of(block_ms, room)
    taken = {block for run in runs for block in range(run.first, run.end)}
    for block in range(len(block_ms) - 1):
        if block not in taken and block + 1 not in taken:
            assert not allowed(Run(block, block + 2), block_ms, room)
