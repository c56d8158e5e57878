"""What the executor shares between apps of one camera stream: exits, timings, waiting, and frames prepared once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blockstore.block import TensorSpec
from schedulerd.errors import EngineFault
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.batching import batches_of, may_join
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job
from schedulerd.serving.prefix import Prefixes, StreamFrame
from schedulerd.serving.prepare import Preparation
from schedulerd.serving.route import LoadedRoute
from tests.fakes import FakeClock
from tests.serving.board import TIMEOUT_MS
from tests.serving.parts import (
    FRAME,
    AddBlock,
    NumpyEngine,
    SureHead,
    exit_of,
    expected_of,
    live_app,
    route_of,
    route_with,
)


class Stage:
    """An executor, and apps of one user on one stream that have both sent a frame."""

    def __init__(self, *routes: LoadedRoute, preparation: Preparation | None = None) -> None:
        # Whoever waits in vain does so for longer than a test may take.
        self.executor = Executor(NumpyEngine(), FakeClock(), prefixes=Prefixes(wait_s=600))
        self.apps = [live_app(f"cam{n}", route=route) for n, route in enumerate(routes)]
        for app in self.apps:
            app.uid, app.preparation = 7, preparation
            self.run(app, 0)

    def begun(self, app: LiveApp, number: int, asked: tuple[str, ...] = ()) -> Job:
        shape = FRAME.shape if app.preparation is None else app.preparation.frame.shape
        job = Job(app, 1, np.full((1, *shape), number, np.uint8), 0.0, asked, StreamFrame("door", number))
        self.executor.start(job)
        return job

    def ended(self, job: Job) -> Any:
        while not self.executor.step(job):
            pass
        header, outputs = self.executor.finish(job)
        return header.exit, header.left, [output.tobytes() for output in outputs]

    def run(self, app: LiveApp, number: int, asked: tuple[str, ...] = ()) -> Any:
        return self.ended(self.begun(app, number, asked))


def unshared(route: LoadedRoute, number: int, asked: tuple[str, ...] = ()) -> Any:
    """What an app alone is answered."""
    return Stage(route).run(live_app("alone", route=route), number, asked)


def exits(first: float, second: float) -> LoadedRoute:
    """Three blocks; the second exit takes the outputs of two."""
    steps = (
        exit_of(0, SureHead(0.6, amount=10), first),
        exit_of(1, SureHead(0.6, amount=20), second, inputs=(0, 1)),
    )
    return route_with(*steps, blocks=[AddBlock(1), AddBlock(2), AddBlock(4)])


@pytest.mark.parametrize("asked", [(), ("exit2", "final"), ("exit1",)], ids=["policy", "asked", "asked early"])
@pytest.mark.parametrize("theirs", [(0.9, 0.9), (0.9, 0.5), (0.5, 0.5)], ids=["to the end", "at exit2", "at exit1"])
@pytest.mark.parametrize("ours", [(0.9, 0.9), (0.9, 0.5), (0.5, 0.5)], ids=["to the end", "at exit2", "at exit1"])
def test_every_app_takes_its_own_exits(
    ours: tuple[float, float], theirs: tuple[float, float], asked: tuple[str, ...]
) -> None:
    """Also where the heads before and behind blocks that did not run take those blocks' outputs."""
    stage = Stage(exits(*ours), exits(*theirs))
    first, second = stage.apps
    stage.run(first, 5)
    assert stage.run(second, 5, asked) == unshared(exits(*theirs), 5, asked)


def test_two_requests_at_once_take_over_from_each_other() -> None:
    runs: list[int] = []
    blocks = [AddBlock(n, lambda n=n: runs.append(n)) for n in (1, 2, 4)]
    stage = Stage(route_of(*blocks), route_of(*blocks))
    runs.clear()
    first, second = (stage.begun(app, 5) for app in stage.apps)
    assert stage.executor.step(first) is False
    assert stage.executor.step(second) is False
    assert stage.ended(first) == stage.ended(second) == unshared(route_of(*map(AddBlock, (1, 2, 4))), 5)
    assert runs == [1, 2, 4]
    assert (first.taken_over, second.taken_over) == (1, 2)


def test_a_block_that_another_lane_runs_is_waited_for() -> None:
    inside, free = threading.Event(), threading.Event()
    runs: list[str] = []

    def gate() -> None:
        runs.append(threading.current_thread().name)
        inside.set()
        if len(runs) == 3:  # the first one of the shared frame
            assert free.wait(TIMEOUT_MS / 1e3)

    stage = Stage(route_of(AddBlock(1, gate)), route_of(AddBlock(1, gate)))
    inside.clear()
    first, second = (stage.begun(app, 5) for app in stage.apps)
    lanes = [threading.Thread(target=stage.ended, args=(job,)) for job in (first, second)]
    lanes[0].start()
    assert inside.wait(TIMEOUT_MS / 1e3)
    lanes[1].start()
    free.set()
    for lane in lanes:
        lane.join(TIMEOUT_MS / 1e3)
    assert len(runs) == 3
    assert (first.taken_over, second.taken_over) == (0, 1)


def test_a_block_that_fails_for_one_app_is_run_for_the_other() -> None:
    failing = [True]

    def fail() -> None:
        if failing and failing.pop():
            raise RuntimeError("no such kernel")

    route = route_of(AddBlock(1), AddBlock(2, fail))
    failing.clear()
    stage = Stage(route, route)
    first, second = (stage.begun(app, 5) for app in stage.apps)
    stage.executor.step(first)
    failing.append(True)
    with pytest.raises(EngineFault):
        stage.executor.step(first)
    answers: list[Any] = []
    lane = threading.Thread(target=lambda: answers.append(stage.ended(second)), daemon=True)
    lane.start()
    lane.join(TIMEOUT_MS / 1e3)
    assert answers == [unshared(route, 5)]
    assert second.taken_over == 1


def until_it_waits(lane: threading.Thread) -> None:
    """Returns when `lane` waits for another one."""
    until_s = time.monotonic() + TIMEOUT_MS / 1e3
    while time.monotonic() < until_s:
        frame = sys._current_frames().get(lane.ident or 0)
        if frame is not None and (frame.f_code.co_name, frame.f_code.co_filename) == ("wait", threading.__file__):
            return
    raise AssertionError("it does not wait")


def test_a_block_that_fails_is_waited_for_no_longer() -> None:
    answers: list[Any] = []
    doing: list[Callable[[], None]] = []
    route = route_of(AddBlock(1, lambda: doing.pop()() if doing else None))
    stage = Stage(route, route)
    first, second = (stage.begun(app, 5) for app in stage.apps)
    lane = threading.Thread(target=lambda: answers.append(stage.ended(second)), daemon=True)

    def fail() -> None:
        lane.start()
        until_it_waits(lane)
        raise RuntimeError("no such kernel")

    doing.append(fail)
    with pytest.raises(EngineFault):
        stage.executor.step(first)
    lane.join(TIMEOUT_MS / 1e3)
    assert answers == [unshared(route, 5)]


def test_a_prepared_frame_is_there_while_the_block_that_takes_it_still_runs() -> None:
    armed: list[bool] = []

    class Awaited(_CountingPreparation):
        def run(self, frames: Any) -> Any:
            if armed:
                lane.start()
                until_it_waits(lane)
            return super().run(frames)

    def look_for_the_other() -> None:
        if armed:
            lane.join(TIMEOUT_MS / 1e3)
            assert not lane.is_alive()

    blocks = [AddBlock(1, look_for_the_other), AddBlock(2)]
    routes = [
        route_of(block, expected=(replace(expected_of(1)[0], digests=(f"{n}",)),)) for n, block in enumerate(blocks)
    ]
    stage = Stage(*routes, preparation=Awaited(TensorSpec("uint8", (4, 4, 3)), 2, 2, False, False, None))
    lane = threading.Thread(target=lambda: stage.run(stage.apps[1], 5), daemon=True)
    Awaited.runs = 0
    armed.append(True)
    stage.run(stage.apps[0], 5)
    assert Awaited.runs == 1


def test_what_did_not_run_says_nothing_of_how_fast_blocks_are() -> None:
    stage = Stage(route_of(AddBlock(), AddBlock()), route_of(AddBlock(), AddBlock()))
    first, second = stage.apps
    for app in stage.apps:
        stage.run(app, 1)
    ours, theirs = (app.meter.since(-1.0)[-1] for app in (first, second))
    assert (len(ours.blocks_ms), len(ours.expected)) == (2, 2)
    assert theirs.expected == ()
    assert (first.meter.shared_blocks, second.meter.shared_blocks) == (0, 2)


class _CountingPreparation(Preparation):
    """Counts the frames that it prepares."""

    runs = 0

    def run(self, frames: Any) -> Any:
        type(self).runs += 1
        return frames[:, ::2, ::2, :1]


def test_a_frame_is_prepared_once_for_apps_that_differ_from_the_first_block_on() -> None:
    preparation = _CountingPreparation(TensorSpec("uint8", (4, 4, 3)), 2, 2, False, False, None)
    routes = [
        route_of(AddBlock(amount), expected=(replace(expected_of(1)[0], digests=(f"{amount}",)),)) for amount in (1, 2)
    ]
    stage = Stage(*routes, preparation=preparation)
    _CountingPreparation.runs = 0
    answers = [stage.run(app, 5) for app in stage.apps]
    assert _CountingPreparation.runs == 1
    assert [np.frombuffer(outputs[0], np.float32).tolist() for _, _, outputs in answers] == [[6.0] * 4, [7.0] * 4]


def test_preparing_counts_as_time_of_the_request() -> None:
    clock = FakeClock()

    class Slow(Preparation):
        def run(self, frames: Any) -> Any:
            clock.advance(0.003)
            return frames[:, ::2, ::2, :1]

    app = live_app(route=route_of(AddBlock(1, lambda: clock.advance(0.002))))
    app.preparation = Slow(TensorSpec("uint8", (4, 4, 3)), 2, 2, False, False, None)
    executor = Executor(NumpyEngine(), clock)
    job = Job(app, 1, np.zeros((1, 4, 4, 3), np.uint8), clock.now_s())
    executor.start(job)
    executor.step(job)
    header, _ = executor.finish(job)
    (observation,) = app.meter.since(0.0)
    assert (header.run_ms, header.queue_ms) == (pytest.approx(5), pytest.approx(0, abs=1e-6))
    assert observation.blocks_ms == pytest.approx((2.0,))


def test_what_spoilt_the_numbers_is_sought_on_the_prepared_frame() -> None:
    class Spoiler(AddBlock):
        def run(self, tensor: Any) -> Any:
            assert tensor.shape == (1, *FRAME.shape)
            return super().run(tensor)

    app = live_app(route=route_of(Spoiler(float("nan"))))
    app.preparation = _CountingPreparation(TensorSpec("uint8", (4, 4, 3)), 2, 2, False, False, None)
    executor = Executor(NumpyEngine(), FakeClock())
    job = Job(app, 1, np.zeros((1, 4, 4, 3), np.uint8), 0.0)
    executor.start(job)
    executor.step(job)
    with pytest.raises(EngineFault, match="NaN or infinities"):
        executor.finish(job)


def test_a_request_that_shares_runs_in_no_batch() -> None:
    """What is computed for several apps anyway need not be computed for each of them side by side."""
    batched = replace(expected_of(1)[0], batch_ms=((2, 1.1),))
    block = AddBlock()
    stage = Stage(*(route_of(block, expected=(batched,)) for _ in range(2)))
    sharing = [stage.begun(app, 5) for app in stage.apps]
    alone = Job(stage.apps[0], 1, np.zeros((1, *FRAME.shape), np.uint8), 0.0)
    stage.executor.start(alone)
    assert [len(batches_of(job)) for job in (alone, sharing[0])] == [1, 0]
    assert may_join(alone, alone)
    assert [may_join(sharing[0], alone), may_join(alone, sharing[1])] == [False, False]
