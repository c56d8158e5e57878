"""What fails as it runs: whose fault it is, what the request is told, and what the control loop is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blockstore.block import ORIGINAL
from blockstore.exits import FINAL
from schedulerd.errors import BadTensor, EngineError, EngineFault
from schedulerd.serving.engines.base import Array
from schedulerd.serving.events import Faulted
from schedulerd.serving.executor import Executor
from schedulerd.serving.faults import SUM_AT_MOST, is_finite
from schedulerd.serving.job import Job
from schedulerd.serving.merged import MergedRun, with_merged
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.messages import Result
from tests.fakes import FakeClock
from tests.serving.parts import (
    FRAME,
    AddBlock,
    BrokenBlock,
    BrokenHead,
    NumpyEngine,
    SureHead,
    exit_of,
    job_for,
    live_app,
    route_of,
    route_with,
)


class Spoiling:
    """A `LoadedBlock` that makes every element what it is told, and counts its runs."""

    def __init__(self, element: float, until: int = 1_000_000) -> None:
        self._element = element
        self._until = until
        self.runs = 0

    def run(self, tensor: Any) -> Any:
        self.runs += 1
        return np.full_like(tensor, self._element) if self.runs <= self._until else tensor


class Fragile:
    """A `LoadedBlock` that raises in some of its runs, by number."""

    def __init__(self, error: Exception, *runs: int) -> None:
        self._error = error
        self._failing = runs
        self._runs = 0

    def run(self, tensor: Any) -> Any:
        self._runs += 1
        if self._runs in self._failing:
            raise self._error
        return tensor


class Hiding:
    """A `LoadedBlock` that makes numbers of whatever it is given."""

    def run(self, tensor: Any) -> Any:
        return np.nan_to_num(tensor, posinf=1.0)


class Bench:
    """An executor, and what it reports."""

    def __init__(self) -> None:
        self.reported: list[Faulted] = []
        self.executor = Executor(NumpyEngine(), FakeClock(), self.reported.append)

    def serve(self, route: LoadedRoute, frame: Any = None, asked: tuple[str, ...] = ()) -> Result:
        job = job_for(live_app(route=route), asked=asked)
        if frame is not None:
            job = Job(job.app, 1, np.full((1, *FRAME.shape), frame, np.float32), 0.0, asked)
        self.executor.start(job)
        while not self.executor.step(job):
            pass
        return self.executor.finish(job)[0]

    def refused(self, route: LoadedRoute, frame: Any = None, asked: tuple[str, ...] = ()) -> str:
        with pytest.raises(EngineFault) as caught:
            self.serve(route, frame, asked)
        return str(caught.value)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def named(route: LoadedRoute, *variants: str) -> LoadedRoute:
    return replace(route, route=replace(route.route, variants=variants))


# What is finite.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 5, SUM_AT_MOST + 1])
def test_nan_and_infinities_are_found_wherever_they_are(dtype: type, size: int) -> None:
    output: Array = np.ones(size, dtype)
    assert is_finite(output)
    for element in (np.nan, np.inf, -np.inf):
        output[-1] = element
        assert not is_finite(output)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_whose_squares_are_too_large_are_numbers(dtype: type) -> None:
    assert is_finite(np.full((2, 3), np.finfo(dtype).max, dtype))


def test_integers_are_numbers() -> None:
    assert is_finite(np.array([[-128, 127]], np.int8))
    assert is_finite(np.zeros((0, 4), np.float32))


# What raises.


def test_a_block_that_raises_is_named_and_reported(bench: Bench) -> None:
    said = bench.refused(named(route_of(AddBlock(), BrokenBlock()), ORIGINAL, "slim"))
    assert said.startswith("block 1 (slim) of 'm' failed: RuntimeError, see the daemon's log; send the next frame")
    assert bench.reported == [Faulted("cam", ("r1",), "RuntimeError, see the daemon's log", no_numbers=False)]


def test_what_an_engine_says_is_passed_on(bench: Bench) -> None:
    said = bench.refused(route_of(Fragile(EngineError("0123 cannot run: no memory"), 1)))
    assert "0123 cannot run: no memory" in said
    assert bench.reported[0].reason == "0123 cannot run: no memory"


def test_a_head_that_raises_is_reported_and_not_the_block_before_it(bench: Bench) -> None:
    exit_ = replace(exit_of(0, BrokenHead()), digest="head0")
    assert bench.refused(route_with(exit_, blocks=[AddBlock(), AddBlock()])).startswith("the head of exit 'exit1'")
    assert [fault.digests for fault in bench.reported] == [("head0",)]


# What gives no numbers.


@pytest.mark.parametrize("element", [np.nan, np.inf, -np.inf])
def test_the_first_block_that_spoils_the_frame_is_to_blame(bench: Bench, element: float) -> None:
    said = bench.refused(named(route_of(AddBlock(), Spoiling(element), AddBlock()), ORIGINAL, "slim", ORIGINAL))
    assert said.startswith("block 1 (slim) of 'm' failed: it gave NaN or infinities")
    assert [(fault.digests, fault.no_numbers) for fault in bench.reported] == [(("r1",), True)]


def test_an_overflow_is_to_blame_for_the_nan_that_an_original_makes_of_it(bench: Bench) -> None:
    bench.refused(named(route_of(Spoiling(np.inf), Spoiling(np.nan)), "half", ORIGINAL))
    assert [fault.digests for fault in bench.reported] == [("r0",)]


def test_an_original_may_give_nan_too(bench: Bench) -> None:
    bench.refused(named(route_of(AddBlock(), Spoiling(np.nan)), ORIGINAL, ORIGINAL))
    assert [fault.digests for fault in bench.reported] == [("r1",)]


def test_infinities_of_an_original_are_its_answer_and_are_asked_about_once(bench: Bench) -> None:
    """A mask or a logarithm gives such; the route is not run again for every frame of them."""
    masking = Spoiling(-np.inf)
    route = named(route_of(AddBlock(), masking), "slim", ORIGINAL)
    for _ in range(5):
        bench.serve(route)
    assert masking.runs == 6
    assert bench.reported == []
    bench.refused(named(route_of(AddBlock(), Spoiling(np.nan)), ORIGINAL, "slim"))
    assert len(bench.reported) == 1, "NaN is no answer of that model all the same"


def test_a_variant_that_hands_on_infinities_of_an_original_has_done_nothing(bench: Bench) -> None:
    bench.serve(named(route_of(Spoiling(np.inf), AddBlock()), ORIGINAL, "slim"))
    assert bench.reported == []


def test_a_variant_after_an_original_that_gives_infinities_is_to_blame_for_nan(bench: Bench) -> None:
    bench.refused(named(route_of(Spoiling(np.inf), Spoiling(np.nan)), ORIGINAL, "slim"))
    assert [fault.digests for fault in bench.reported] == [("r1",)]


@pytest.mark.parametrize("element", [np.nan, np.inf])
def test_a_frame_that_has_them_is_the_clients(bench: Bench, element: float) -> None:
    with pytest.raises(BadTensor, match="the frame has NaN or infinities"):
        bench.serve(route_of(AddBlock()), frame=element)
    assert bench.reported == []


class Watched:
    """A `LoadedBlock` that changes nothing, after `watch` has been told which run it is."""

    def __init__(self, watch: Callable[[int], None]) -> None:
        self._watch = watch
        self._runs = 0

    def run(self, tensor: Any) -> Any:
        self._runs += 1
        self._watch(self._runs)
        return tensor.copy()


class SharingEngine(NumpyEngine):
    """Gives blocks the frame's own memory, as real engines do."""

    def feed(self, array: Any) -> Any:
        return array


def shared_frame_refused(array: Array, route: LoadedRoute, asked: tuple[str, ...] = ()) -> list[Faulted]:
    """What is reported of a frame in its client's memory, who fills it with ones before the answer is made."""
    reported: list[Faulted] = []
    executor = Executor(SharingEngine(), FakeClock(), reported.append)
    job = Job(live_app(route=route), 1, array, 0.0, asked)
    executor.start(job)
    while not executor.step(job):
        pass
    array.fill(1.0)
    with pytest.raises(EngineFault, match="a run that went well when it was repeated"):
        executor.finish(job)
    return reported


def test_a_client_that_takes_nan_out_of_its_frame_again_has_no_head_banned() -> None:
    array = np.full((1, *FRAME.shape), np.nan, np.float32)
    route = exiting(SureHead(0.0), blocks=[Watched(lambda _: None)] * 2)
    assert shared_frame_refused(array, route, asked=("exit1",)) == []


def test_a_client_that_puts_nan_into_its_frame_as_it_is_run_again_has_no_block_banned() -> None:
    array = np.ones((1, *FRAME.shape), np.float32)
    changed = Watched(lambda run: array.fill(np.nan) if run == 2 else None)
    assert shared_frame_refused(array, route_of(changed, Spoiling(np.nan, until=1))) == []


@pytest.mark.parametrize("number", [1e30, -1e30])
def test_an_overflow_on_numbers_that_no_sensor_gives_is_the_clients(bench: Bench, number: float) -> None:
    with pytest.raises(BadTensor, match=r"numbers of up to 1e\+30 in it; send numbers of up to 65536"):
        bench.serve(named(route_of(Spoiling(np.inf)), "half"), frame=number)
    assert bench.reported == []
    bench.refused(named(route_of(Spoiling(np.inf)), "half"), frame=65_536.0)
    assert [fault.digests for fault in bench.reported] == [("r0",)]


def test_what_no_output_shows_is_nobodys_concern(bench: Bench) -> None:
    bench.serve(named(route_of(Spoiling(np.nan), Hiding()), "slim", ORIGINAL))
    assert bench.reported == []


def test_a_run_that_goes_well_when_repeated_is_answered_and_blames_nobody(bench: Bench) -> None:
    assert "a run that went well when it was repeated" in bench.refused(route_of(Spoiling(np.nan, until=1)))
    assert bench.reported == []


def test_a_block_that_raises_when_the_frame_is_run_again_is_reported_for_that(bench: Bench) -> None:
    bench.refused(route_of(Fragile(MemoryError(), 2), Spoiling(np.nan)))
    assert [(fault.digests, fault.no_numbers) for fault in bench.reported] == [(("r0",), False)]


def test_merged_blocks_are_reported_together(bench: Bench) -> None:
    plain = route_of(AddBlock(), AddBlock(), AddBlock())
    said = bench.refused(with_merged(plain, [MergedRun(1, 2, Spoiling(np.nan))]))
    assert said.startswith("blocks 1 to 2 (r1, r2) of 'm' failed")
    assert [fault.digests for fault in bench.reported] == [("r1", "r2")]


# Exits.


def exiting(*heads: Any, blocks: Sequence[Any], threshold: float = 0.5) -> LoadedRoute:
    exits = [replace(exit_of(n, head, threshold), digest=f"head{n}") for n, head in enumerate(heads)]
    return route_with(*exits, blocks=blocks)


class SpoilingHead:
    """A `LoadedHead` that is sure of no number."""

    def run(self, tensors: Sequence[Any]) -> tuple[Any, float]:
        return np.full_like(tensors[-1], np.nan), 1.0


@pytest.mark.parametrize(
    ("route", "asked", "blamed"),
    [
        (lambda: exiting(SpoilingHead(), blocks=[AddBlock(), Spoiling(np.nan)]), (), "head0"),
        (lambda: exiting(SureHead(), SpoilingHead(), blocks=[AddBlock()] * 3), ("exit1", "exit2"), "head1"),
        (lambda: exiting(SureHead(), blocks=[Spoiling(np.nan), AddBlock()]), (), "r0"),
        (lambda: exiting(SureHead(), blocks=[AddBlock(), Spoiling(np.nan)]), ("exit1", FINAL), "r1"),
    ],
    ids=["a head", "one of two heads", "the block before a head", "the end beside a head"],
)
def test_a_head_is_to_blame_where_no_block_is(
    bench: Bench, route: Callable[[], LoadedRoute], asked: tuple[str, ...], blamed: str
) -> None:
    bench.refused(route(), asked=asked)
    assert [fault.digests for fault in bench.reported] == [(blamed,)]


def test_the_meter_of_the_app_has_no_answer_that_was_not_given(bench: Bench) -> None:
    job = job_for(live_app(route=route_of(Spoiling(np.nan))))
    bench.executor.start(job)
    bench.executor.step(job)
    with pytest.raises(EngineFault):
        bench.executor.finish(job)
    assert job.app.meter.answered == 0
