"""Which layout of lanes and threads a profile speaks for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.device import Device
from blockprofiles.record import Row
from blockprofiles.table import Table
from schedulerd.profiling.lanes import Layout, choose, threads_to_try
from tests.profiles.scripted import model_of

MODELS = (model_of(("a", "smaller"), ("b",)),)
"""Their original route is a, b."""


def table(threads: int, times_ms: Mapping[str, float], slowdowns: Mapping[int, float] | None = None) -> Table:
    """What was measured with lanes of so many threads, and by what so many busy ones are slowed down."""
    device = Device("A76", "aarch64", 8, None, 2**32, "scripted", "1.0", threads)
    rows = tuple(Row(digest, "scripted", threads, ms, 9 * ms, 1) for digest, ms in times_ms.items())
    curve = tuple(Point(lanes, Slowdown(slowdown, 9.0)) for lanes, slowdown in (slowdowns or {}).items())
    return Table(device, rows, "then", contention=Contention(lanes=curve))


@pytest.mark.parametrize(
    ("cores", "given", "tried"),
    [(1, 0, (1,)), (2, 0, (2, 1)), (3, 0, (3, 1)), (4, 0, (4, 2, 1)), (8, 0, (8, 4, 1)), (4, 3, (3,)), (2, 6, (6,))],
)
def test_a_board_is_measured_with_all_of_its_cores_half_and_one(cores: int, given: int, tried: tuple[int, ...]) -> None:
    """Or with the threads that the operator wants."""
    assert threads_to_try(cores, given) == tried


@pytest.mark.parametrize(
    ("two_threads_ms", "two_lanes", "expected"),
    [
        pytest.param(9.0, 1.1, Layout(2, 1), id="a second thread gains little"),
        pytest.param(5.0, 1.1, Layout(1, 2), id="a second thread gains as much as a second lane"),
        pytest.param(5.9, 1.1, Layout(1, 2), id="nearly as much: one lane answers sooner"),
        pytest.param(6.2, 1.1, Layout(2, 1), id="less than nearly as much"),
        pytest.param(9.0, 1.95, Layout(1, 1), id="lanes slow each other down: nothing gains"),
    ],
)
def test_the_layout_that_serves_most_frames_is_chosen(
    two_threads_ms: float, two_lanes: float, expected: Layout
) -> None:
    """On two cores, for a route that takes 10 ms on one thread."""
    half_ms = two_threads_ms / 2
    tables = {2: table(2, {"a": half_ms, "b": half_ms}), 1: table(1, {"a": 4.0, "b": 6.0}, {1: 1.0, 2: two_lanes})}
    assert choose(MODELS, tables, cores=2).layout == expected


def test_fewer_lanes_than_fit_do_where_more_bring_nothing() -> None:
    """Memory is as slow for eight lanes as for four, and three are not tried."""
    tables = {1: table(1, {"a": 5.0, "b": 5.0}, {1: 1.0, 2: 1.0, 4: 1.1, 8: 2.1})}
    assert choose(MODELS, tables, cores=8).layout == Layout(4, 1)


def test_as_many_lanes_as_there_are_cores_for_are_tried() -> None:
    """Six, which is no power of two."""
    assert choose(MODELS, {1: table(1, {"a": 5.0, "b": 5.0})}, cores=6).layout == Layout(6, 1)


def test_threads_that_are_given_are_kept() -> None:
    """Even more than there are cores."""
    assert choose(MODELS, {6: table(6, {"a": 5.0, "b": 5.0})}, cores=2).layout == Layout(1, 6)


def test_the_reason_names_every_layout_with_what_it_serves() -> None:
    """The best first."""
    tables = {2: table(2, {"a": 4.0, "b": 4.0}), 1: table(1, {"a": 4.0, "b": 6.0}, {1: 1.0, 2: 1.25})}
    assert choose(MODELS, tables, cores=2).why == (
        "frames/s of 1 of 1 models in turn, lanes x threads: 2 x 1: 160, 1 x 2: 125, 1 x 1: 100"
    )


def test_a_frame_that_follows_another_models_counts() -> None:
    """Lanes serve several apps: caches are cold."""
    cold = {"a": 1.0, "b": 1.0}
    rows = tuple(Row(digest, "scripted", 1, 0.1, 9.0, 1, cold_ms=ms) for digest, ms in cold.items())
    found = choose(MODELS, {1: Table(table(1, {}).device, rows, "then")}, cores=1)
    assert found.why.endswith("1 x 1: 500")


def test_models_take_turns() -> None:
    """A long one weighs as much as it takes."""
    models = (*MODELS, model_of(("long",), name="other"))
    found = choose(models, {1: table(1, {"a": 5.0, "b": 5.0, "long": 90.0})}, cores=1)
    assert found.why == "frames/s of 2 of 2 models in turn, lanes x threads: 1 x 1: 20"


def test_a_model_that_is_not_known_everywhere_says_nothing() -> None:
    """A block hung while it was measured with one of the numbers of threads."""
    models = (*MODELS, model_of(("other",), name="other"))
    tables = {2: table(2, {"a": 3.0, "b": 3.0, "other": 9.0}), 1: table(1, {"a": 5.0, "b": 5.0})}
    assert choose(models, tables, cores=2).why.startswith("frames/s of 1 of 2 models")


def test_one_lane_of_all_threads_stands_where_nothing_is_known() -> None:
    """As without a choice."""
    found = choose(MODELS, {2: table(2, {}), 1: table(1, {"a": 5.0, "b": 5.0})}, cores=2)
    assert (found.layout, found.why) == (Layout(1, 2), "no model is measured with every number of threads")
