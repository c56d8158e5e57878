"""Which blocks may be merged: of which routes, and how long a run may be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockprofiles.record import Row
from blockstore.exits import ExitPolicy
from schedulerd.control.merging import allowed, mergeable, runs_of
from schedulerd.merging.verdict import Run
from schedulerd.plan import Route

ROUTE = Route("m", ("a", "b", "c"), ("a", "b", "c"))
ROWS = [Row(digest, "onnxruntime", 1, 1.0, 2.0, 1000) for digest in "abc"]
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


def test_an_app_alone_may_merge_its_whole_route() -> None:
    assert runs_of([1.0, 5.0, 1.0], alone=True) == (Run(0, 3),)


def test_beside_others_no_run_takes_longer_than_the_longest_block() -> None:
    assert runs_of([1.0, 2.0, 4.0, 3.0, 1.0, 1.0], alone=False) == (Run(0, 2), Run(3, 5))


def test_blocks_of_equal_length_stay_apart_beside_others() -> None:
    assert runs_of([1.0, 1.0, 1.0], alone=False) == ()


@given(TIMES)
def test_runs_are_what_is_allowed_and_never_overlap(block_ms: list[float]) -> None:
    runs = runs_of(block_ms, alone=False)
    assert all(allowed(run, block_ms, alone=False) and run.end - run.first > 1 for run in runs)
    assert all(a.end <= b.first for a, b in pairwise(runs))


@given(TIMES)
def test_no_two_neighbours_that_are_left_apart_could_be_one(block_ms: list[float]) -> None:
    """The stretches are as few as they can be, taken from the front."""
    runs = runs_of(block_ms, alone=False)
    taken = {block for run in runs for block in range(run.first, run.end)}
    for block in range(len(block_ms) - 1):
        if block not in taken and block + 1 not in taken:
            assert not allowed(Run(block, block + 2), block_ms, alone=False)
