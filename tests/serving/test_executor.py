"""The executor: the route is taken once, run block by block, and the reply says what it cost."""

from __future__ import annotations

import numpy as np
import pytest

from blockstore.block import TensorSpec
from schedulerd.errors import DeadlinePassed, NotRegistered
from schedulerd.serving.executor import Executor
from schedulerd.wire.codec import encode
from schedulerd_client import Reply
from schedulerd_client._session import Session
from tests.fakes import FakeClock
from tests.serving.parts import (
    AddBlock,
    FlatBlock,
    NumpyEngine,
    SureHead,
    exit_of,
    job_for,
    live_app,
    route_of,
    route_with,
)


def test_a_request_runs_every_block_and_the_reply_tells_time_and_route() -> None:
    clock = FakeClock()
    tick = lambda: clock.advance(0.002)  # noqa: E731 - two blocks of 2 ms each
    app = live_app(route=route_of(AddBlock(1, tick), AddBlock(2, tick), plan=7))
    job = job_for(app, arrived_s=clock.now_s())
    clock.advance(0.003)
    executor = Executor(NumpyEngine(), clock)
    executor.start(job)
    assert [executor.step(job), executor.step(job)] == [False, True]
    header, (output,) = executor.finish(job)
    np.testing.assert_array_equal(output, np.full((1, 2, 2, 1), 3, np.float32))
    assert (header.plan, header.route, header.deadline_met) == (7, ("r0", "r1"), True)
    assert header.run_ms == pytest.approx(4)
    assert header.queue_ms == pytest.approx(3)


def test_a_request_goes_on_while_it_may_and_no_further() -> None:
    clock = FakeClock()
    app = live_app(route=route_of(*(AddBlock(1, lambda: clock.advance(0.002)) for _ in range(4))))
    job = job_for(app, arrived_s=clock.now_s())
    executor, asked_s = Executor(NumpyEngine(), clock), []

    def may(now_s: float) -> bool:
        asked_s.append(now_s - job.arrived_s)
        return len(asked_s) < 2

    executor.start(job)
    assert not executor.step(job, may)
    assert job.next_block == 2
    assert executor.step(job, lambda _: True)
    executor.finish(job)
    (observation,) = app.meter.since(0.0)
    assert asked_s == pytest.approx([0.002, 0.004])
    assert observation.blocks_ms == pytest.approx((2.0, 2.0, 2.0, 2.0))


def test_whether_a_request_may_go_on_is_asked_after_the_head() -> None:
    clock = FakeClock()
    block = AddBlock(1, lambda: clock.advance(0.002))
    head = SureHead(0.1, watch=lambda: clock.advance(0.005))
    job = job_for(live_app(route=route_with(exit_of(0, head), blocks=[block, block])), clock.now_s())
    executor, asked_s = Executor(NumpyEngine(), clock), list[float]()

    def may(now_s: float) -> bool:
        asked_s.append(now_s - job.arrived_s)
        return True

    executor.start(job)
    assert executor.step(job, may)
    assert asked_s == pytest.approx([0.007])


def test_every_block_is_timed_beside_what_was_expected_of_it() -> None:
    clock = FakeClock()
    route = route_of(AddBlock(1, lambda: clock.advance(0.002)), AddBlock(2, lambda: clock.advance(0.005)))
    app = live_app(route=route)
    job = job_for(app, arrived_s=clock.now_s())
    executor = Executor(NumpyEngine(), clock)
    executor.start(job)
    executor.step(job)
    clock.advance(0.5)  # another request's block
    executor.step(job)
    executor.finish(job)
    (observation,) = app.meter.since(0.0)
    assert observation.blocks_ms == pytest.approx((2.0, 5.0))
    assert observation.expected is route.expected


def test_a_network_with_several_outputs_is_answered_with_one_tensor_for_each() -> None:
    app = live_app(route=route_of(FlatBlock()), outputs=(TensorSpec("float32", (3,)), TensorSpec("float32", (1, 1))))
    job = job_for(app)
    executor = Executor(NumpyEngine(), FakeClock())
    executor.start(job)
    executor.step(job)
    header, outputs = executor.finish(job)
    assert [(t.dtype, t.shape) for t in header.tensors] == [("float32", (1, 3)), ("float32", (1, 1, 1))]
    assert [o.tolist() for o in outputs] == [[[0, 1, 2]], [[[3]]]]


def test_a_client_gets_several_outputs_as_a_tuple_of_arrays() -> None:
    session = Session()
    request_id, _ = session.infer(np.zeros((2, 2, 1), np.uint8), now_s=0.0)
    app = live_app(route=route_of(FlatBlock()), outputs=(TensorSpec("float32", (3,)), TensorSpec("float32", (1, 1))))
    job = job_for(app, message_id=request_id)
    executor = Executor(NumpyEngine(), FakeClock())
    executor.start(job)
    executor.step(job)
    frames = [bytes(frame) for frame in encode(*executor.finish(job))]
    ((_, reply),) = session.received(frames, now_s=1.0).done
    assert isinstance(reply, Reply)
    assert [o.tolist() for o in reply.outputs] == [[[0, 1, 2]], [[[3]]]]


def test_a_swap_in_the_middle_of_a_request_does_not_touch_it() -> None:
    old, new = route_of(AddBlock(1), AddBlock(1)), route_of(AddBlock(100), AddBlock(100))
    app = live_app(route=old)
    job = job_for(app)
    executor = Executor(NumpyEngine(), FakeClock())
    executor.start(job)
    executor.step(job)
    app.route = new
    executor.step(job)
    _, (output,) = executor.finish(job)
    assert float(output.max()) == 2.0
    assert not old.pins.drained
    assert new.pins.drained


def test_a_late_reply_says_so_and_is_counted() -> None:
    clock = FakeClock()
    app = live_app(budget_ms=1, route=route_of(AddBlock(1, lambda: clock.advance(0.002))))
    job = job_for(app, arrived_s=clock.now_s())
    executor = Executor(NumpyEngine(), clock)
    executor.start(job)
    executor.step(job)
    header, _ = executor.finish(job)
    assert not header.deadline_met
    assert (app.meter.answered, app.meter.missed) == (1, 1)


def test_late_policy_drop_refuses_a_request_whose_deadline_has_passed() -> None:
    clock = FakeClock()
    job = job_for(live_app(budget_ms=5, late="drop"), arrived_s=clock.now_s())
    clock.advance(0.006)
    with pytest.raises(DeadlinePassed, match=r"1\.0 ms"):
        Executor(NumpyEngine(), clock).start(job)


def test_an_app_without_a_route_is_told_to_register() -> None:
    app = live_app()
    app.route = None
    with pytest.raises(NotRegistered):
        Executor(NumpyEngine(), FakeClock()).start(job_for(app))
