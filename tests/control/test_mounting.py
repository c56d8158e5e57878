"""What the executor is given of a planned route: thresholds and times of this very route."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockprofiles.record import FOREIGN, MEASURED, Row
from blockstore.exits import FINAL, NO_EXITS, ExitPolicy
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.mounting import expected_of, mounted
from schedulerd.plan import AppPlan, Route
from schedulerd.serving.route import LoadedExit, LoadedRoute
from tests.control.exiting import EXITING, GENERAL, PRUNED
from tests.control.tables import table_of
from tests.serving.parts import AddBlock, SureHead

P95_MS = {"a": 2.0, "b": 4.0, "c": 8.0, "d": 0.5, "e": 0.25}
TABLE = table_of(*(Row(d, "onnxruntime", 1, ms / 2, ms, 1000, cold_ms=0.625 * ms) for d, ms in P95_MS.items()))
CATALOGUE = Catalogue({"m": EXITING}, TABLE, "onnxruntime")
BOTH = ExitPolicy("both", (("exit1", 0.5), ("exit2", 0.5), (FINAL, 0.0)))


def mount(
    policy: ExitPolicy = BOTH,
    heads: str = "de",
    variants: tuple[str, ...] = ("original", "original", "original"),
    shares: tuple[float, ...] | None = None,
) -> LoadedRoute:
    digests = tuple("abc"[: len(variants)])
    route = Route("m", variants, digests, policy, tuple(heads))
    block_ms = tuple(P95_MS[digest] / 2 for digest in digests)
    shares = shares or (*(0.0 for _ in policy.steps[1:]), 1.0)
    planned = AppPlan("cam", route, 7.0, 14.0, 0.8, 1000, 0.1, block_ms, exit_shares=shares)
    return mounted(planned, 3, [AddBlock() for _ in digests], {head: SureHead() for head in heads}, CATALOGUE)


def exits_of(route: LoadedRoute) -> list[LoadedExit]:
    assert route.exits is not None
    return [e for e in route.exits.after if e is not None]


def test_a_route_without_heads_has_no_exits() -> None:
    route = mount(NO_EXITS, heads="")
    assert route.exits is None
    assert (route.accuracy, route.plan) == (0.8, 3)
    assert route.offered() == ("final",)


def test_a_route_knows_what_the_profile_expects_of_each_block() -> None:
    first, second, third = mount().expected
    assert [(b.first, b.last, b.digests, b.engine) for b in (first, second)] == [
        (0, 0, ("a",), "onnxruntime"),
        (1, 1, ("b",), "onnxruntime"),
    ]
    assert (third.median_ms, third.cold_ms, third.p95_ms) == (4.0, 5.0, 8.0)


def test_a_route_knows_what_was_measured_of_batches_with_the_engine_and_threads_that_it_runs_on() -> None:
    batches = [(1, 4, MEASURED, 5.0), (1, 2, MEASURED, 3.0), (2, 8, MEASURED, 1.0), (1, 16, FOREIGN, 1.0)]
    rows = (Row("c", "onnxruntime", threads, ms, ms, 1000, batch=n, source=of) for threads, n, of, ms in batches)
    catalogue = replace(CATALOGUE, table=TABLE.merged(rows, "2026-01-01T00:00:00Z"))
    assert [b.batch_ms for b in expected_of("abc", catalogue)] == [(), (), ((2, 3.0), (4, 5.0))]


def test_every_exit_stands_after_its_block_with_what_its_head_takes() -> None:
    route = mount()
    assert route.exits is not None
    assert [e and e.name for e in route.exits.after] == ["exit1", "exit2", None]
    assert [e.inputs for e in exits_of(route)] == [(0,), (0, 1)]
    assert route.offered() == ("exit1", "exit2", "final")


def test_the_way_onward_is_that_to_the_output_of_the_next_exit_or_of_the_end() -> None:
    """A block of 4 ms and a head of 0.25 ms; then a block of 8 ms."""
    assert [e.onward_s for e in exits_of(mount())] == pytest.approx([0.00425, 0.008])


def test_frames_that_no_exit_is_sure_of_are_right_less_often_than_all_are() -> None:
    """The first exit takes half of the frames and is right as often as its curve says: the rest makes up the mean."""
    confident = GENERAL.at(0.5).precision
    route = mount(shares=(0.5, 0.0, 0.5))
    assert 0.5 * confident + 0.5 * route.accuracy == pytest.approx(0.8)
    assert mount().accuracy == 0.8
    assert mount(shares=(0.5, 0.5, 0.0)).accuracy == 0.8, "of frames that do not come the plan's word"


def test_no_answer_comes_sooner_than_at_the_first_step_of_the_policy() -> None:
    assert mount().soonest_s == pytest.approx(0.001)
    assert mount(NO_EXITS).soonest_s == pytest.approx(0.007)


def test_nothing_comes_after_an_exit_that_caps_the_depth() -> None:
    route = mount(ExitPolicy("short", (("exit2", 0.0),)), variants=("original", "original"))
    first, last = exits_of(route)
    assert (first.threshold, last.threshold, last.onward_s) == (None, 0.0, 0.0)
    assert route.offered() == ("exit1", "exit2")


def test_an_exit_that_the_policy_does_not_use_is_there_without_a_threshold() -> None:
    assert [e.threshold for e in exits_of(mount(NO_EXITS))] == [None, None]


def test_an_exit_without_a_usable_head_is_left_out() -> None:
    """The way of the other is then to the end."""
    (only,) = exits_of(mount(NO_EXITS, heads="d"))
    assert (only.name, only.onward_s) == ("exit1", pytest.approx(0.012))


def test_thresholds_and_curves_are_those_behind_the_variants_of_the_route() -> None:
    """Where the second block is pruned, the first exit is none the wiser, and the second one less sure."""
    first, second = exits_of(mount(variants=("original", "pruned", "original")))
    assert (first.threshold, first.curve) == (0.5, GENERAL)
    assert (second.threshold, second.curve) == (0.9, PRUNED)
