"""Requests for the same block run as one batch where the profile says that it pays and no deadline suffers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.batching import Claim, at_same_block, batches_of, companions, how_many, largest_of
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job, Row
from schedulerd.serving.prefix import Prefixes, StreamFrame
from schedulerd.serving.route import ExpectedBlock, LoadedRoute
from schedulerd.wire.messages import Failure, Result
from tests.fakes import FakeClock
from tests.profiles import tiny
from tests.serving.parts import AddBlock, NumpyEngine, SureHead, exit_of, job_for, live_app, route_of, route_with
from tests.serving.script import Arrival, Day, TimedBlock, every, served, timed_route

NOW_S = 1000.0


def claim(deadline_s: float, ms: float = 10.0, *, joins: bool = True) -> Claim:
    """Of a request that takes `ms` in all its blocks and has to be answered in so many seconds."""
    return Claim(NOW_S + deadline_s, ms * 1e-3, ms * 1e-3, joins)


def number(batch_ms: list[tuple[int, float]], *claims: Claim) -> int:
    """Frames of a batch of a block that takes a single one 10 ms."""
    return how_many(NOW_S, 0.010, tuple((frames, ms * 1e-3) for frames, ms in batch_ms), claims)


def test_nothing_is_joined_without_a_measurement() -> None:
    assert number([], claim(9), claim(9)) == 1


@pytest.mark.parametrize(("pair_ms", "pays"), [(12.0, True), (18.9, True), (19.1, False), (25.0, False)])
def test_a_batch_must_clearly_take_less_than_its_frames_alone(pair_ms: float, pays: bool) -> None:
    route = timed_route(FakeClock(), 10, batch_ms=((2, pair_ms),))
    assert [bool(ahead.batch_s) for ahead in route.ahead] == [pays, False]


def test_a_batch_of_short_blocks_must_save_what_joining_costs() -> None:
    def pays(single_ms: float) -> bool:
        return bool(timed_route(FakeClock(), single_ms, batch_ms=((2, 1.8 * single_ms),)).ahead[0].batch_s)

    assert [pays(single_ms) for single_ms in (0.1, 0.3, 1.0)] == [False, True, True]


def test_a_block_that_gains_nothing_is_joined_for_those_after_it() -> None:
    """Nobody would be beside it there otherwise. What is behind does not count."""
    steps = [(10.0, 21.0), (10.0, 14.0), (10.0, 19.5)]
    expected = tuple(ExpectedBlock(n, ("r",), "e", ms, ms, ms, ((2, pair),)) for n, (ms, pair) in enumerate(steps))
    route = route_of(AddBlock(), AddBlock(), AddBlock(), expected=expected)
    assert [ahead.batch_s for ahead in route.ahead] == [((2, 0.021),), ((2, 0.014),), (), ()]


def test_the_size_that_takes_least_a_frame_is_taken_of_those_that_can_be_filled() -> None:
    times = [(2, 12.0), (4, 20.0), (8, 60.0)]
    assert number(times, *[claim(9)] * 2) == 2
    assert number(times, *[claim(9)] * 3) == 2
    assert number(times, *[claim(9)] * 4) == 4
    assert number(times, *[claim(9)] * 9) == 4


def test_the_request_in_hand_must_afford_the_batch() -> None:
    """Alone it would be ready in 10 ms, in the batch of two in 15."""
    assert number([(2, 15.0)], claim(0.0151), claim(9)) == 2
    assert number([(2, 15.0)], claim(0.0149), claim(9)) == 1


def test_what_waits_and_cannot_join_must_afford_it_too() -> None:
    """It would begin after the 10 ms of the first and be ready after 20; now 5 ms later."""
    assert number([(2, 15.0)], claim(9), claim(0.0251, joins=False), claim(9)) == 2
    assert number([(2, 15.0)], claim(9), claim(0.0249, joins=False), claim(9)) == 1


def test_what_is_late_in_any_case_does_not_stand_in_the_way() -> None:
    assert number([(2, 15.0)], claim(9), claim(0.009, joins=False), claim(9)) == 2


def test_whoever_is_served_sooner_in_a_batch_has_nothing_to_lose() -> None:
    """Two single runs take longer than the batch: that the second may be late at worst is no reason against it."""
    tight = Claim(NOW_S + 0.05, 0.01, 0.04, joins=True)
    assert number([(2, 18.0)], claim(9, 40.0), tight) == 2


def test_a_smaller_batch_is_tried_where_the_best_one_takes_too_long() -> None:
    times = [(2, 13.0), (4, 20.0)]
    assert number(times, claim(0.014), *[claim(9)] * 3) == 2


def test_only_sizes_that_were_measured_are_run() -> None:
    times = ((2, 1.0), (4, 1.5))
    assert [largest_of(n, times) for n in (1, 2, 3, 4, 9)] == [1, 2, 2, 4, 4]


def test_what_would_be_refused_is_no_companion() -> None:
    route = timed_route(FakeClock(), 10, batch_ms=((2, 12.0),))
    job, other = (job_for(live_app(budget_ms=1000, route=route), NOW_S) for _ in range(2))
    job.route = route
    dropped = job_for(live_app(budget_ms=1, late="drop", route=route), NOW_S)
    assert companions(job, [dropped, other], NOW_S) == [other]
    assert companions(job, [dropped], NOW_S) == []


# On a lane, where a batch of four takes as long as a single frame.


def sizes(route: LoadedRoute) -> list[list[int]]:
    return [block.frames for block in route.blocks if isinstance(block, TimedBlock)]


def test_requests_of_one_app_that_wait_for_the_same_block_run_as_one_batch() -> None:
    clock = FakeClock()
    route = timed_route(clock, 5, 5, batch_ms=((4, 5.0),))
    app = live_app(budget_ms=1000, route=route)
    day = served(clock, [Arrival(clock.now_s(), app, n) for n in range(1, 6)])
    assert sizes(route) == [[4, 1], [4, 1]]
    assert sorted(answer.reply.id for answer in day.answers) == [1, 2, 3, 4, 5]
    assert all(isinstance(answer.reply, Result) for answer in day.answers)


def test_apps_that_have_a_block_in_common_run_it_as_one_batch() -> None:
    """The same block in memory at the same place of their routes; what follows is each one's own."""
    clock = FakeClock()
    common = TimedBlock(clock, 0.005)
    expected = timed_route(clock, 5, 5, batch_ms=((2, 5.0),)).expected
    routes = [route_of(common, TimedBlock(clock, 0.005), expected=expected) for _ in range(2)]
    apps = [live_app(f"cam{n}", budget_ms=1000, route=route) for n, route in enumerate(routes)]
    served(clock, [Arrival(clock.now_s(), app, 1) for app in apps])
    assert common.frames == [2]
    assert [sizes(route)[1] for route in routes] == [[1], [1]]


def test_whoever_goes_on_alone_in_the_middle_of_its_route_looks_for_nobody() -> None:
    route = timed_route(FakeClock(), 5, 5, batch_ms=((2, 5.0),))
    job = job_for(live_app(route=route))
    job.route = route
    assert batches_of(job)
    job.next_block = 1
    assert batches_of(job) == ()
    job.row = Row(np.zeros((2, 1)), 0, 1)
    assert batches_of(job)


def test_a_batch_ends_at_the_block_boundary_for_a_more_urgent_request() -> None:
    clock = FakeClock()
    route = timed_route(clock, 5, 5, batch_ms=((2, 5.0),))
    slow = live_app("slow", budget_ms=1000, route=route)
    urgent = live_app("urgent", budget_ms=20, route=timed_route(clock, 2))
    start_s = clock.now_s()
    day = served(clock, [Arrival(start_s, slow, 1), Arrival(start_s, slow, 2), Arrival(start_s + 0.001, urgent, 1)])
    assert [answer.app for answer in day.answers] == ["urgent", "slow", "slow"]
    assert sizes(route) == [[2], [2]]


def test_frames_of_a_batch_leave_at_exits_of_their_own() -> None:
    """The batch that goes on is what is left of it."""
    clock = FakeClock()
    blocks = [TimedBlock(clock, 0.005), TimedBlock(clock, 0.005)]
    base = timed_route(clock, 5, 5, batch_ms=((2, 5.0), (3, 5.0)))
    route = route_with(exit_of(0, FirstIsSure()), blocks=blocks)
    app = live_app(budget_ms=1000, route=LoadedRoute(route.route, tuple(blocks), 1, 0.9, base.expected, route.exits))
    day = served(clock, [Arrival(clock.now_s(), app, n) for n in (1, 2, 3)])
    assert [block.frames for block in blocks] == [[3], [2]]
    exits = {answer.reply.id: answer.reply.exit for answer in day.answers if isinstance(answer.reply, Result)}
    assert exits == {1: "exit1", 2: "final", 3: "final"}


class FirstIsSure(SureHead):
    """Sure of the first frame that it is asked about."""

    def run(self, tensors: Any) -> tuple[Any, float]:
        output, _ = super().run(tensors)
        return output, 1.0 if len(self.taken) == 1 else 0.0


class PickyBlock(TimedBlock):
    """Cannot run more than one frame."""

    def run(self, tensor: Any) -> Any:
        if len(tensor) > 1:
            raise RuntimeError("no room for a batch")
        return super().run(tensor)


class SpoiltBlock(TimedBlock):
    """Cannot run the second frame that it is given by itself, nor any batch."""

    def run(self, tensor: Any) -> Any:
        output = super().run(tensor)
        if len(tensor) > 1 or self.frames.count(1) == 2:
            raise RuntimeError("no such kernel")
        return output


def test_where_a_batch_fails_each_frame_runs_by_itself() -> None:
    clock = FakeClock()
    expected = timed_route(clock, 5, batch_ms=((3, 5.0),)).expected
    app = live_app(budget_ms=1000, route=route_of(PickyBlock(clock, 0.005), expected=expected))
    day = served(clock, [Arrival(clock.now_s(), app, n) for n in (1, 2, 3)])
    assert [type(answer.reply) for answer in day.answers] == [Result] * 3


def test_what_fails_for_one_frame_of_a_batch_is_told_to_that_one_alone() -> None:
    clock = FakeClock()
    expected = timed_route(clock, 5, batch_ms=((3, 5.0),)).expected
    app = live_app(budget_ms=1000, route=route_of(SpoiltBlock(clock, 0.005), expected=expected))
    day = served(clock, [Arrival(clock.now_s(), app, n) for n in (1, 2, 3)])
    assert sorted(type(answer.reply).__name__ for answer in day.answers) == ["Failure", "Result", "Result"]


def test_what_is_to_be_dropped_is_told_so_and_no_part_of_a_batch() -> None:
    clock = FakeClock()
    route = timed_route(clock, 5, batch_ms=((2, 5.0), (3, 5.0)))
    app = live_app(budget_ms=8, late="drop", route=route)
    start_s = clock.now_s()
    busy = live_app("busy", budget_ms=1, priority=9, route=timed_route(clock, 1))
    arrivals = [Arrival(start_s, busy, 1), Arrival(start_s - 0.004, app, 1), *every(0, app, clock, 2)]
    day = served(clock, arrivals)
    assert sizes(route) == [[2]]
    assert [type(a.reply) for a in day.answers if a.app == "cam"].count(Failure) == 1


def test_a_batch_that_lacks_one_is_not_run_in_a_size_that_nobody_has_measured() -> None:
    """One of three asks for an exit that there is not, which shows when it starts."""
    clock = FakeClock()
    route = timed_route(clock, 5, batch_ms=((3, 5.0),))
    app, start_s = live_app(budget_ms=1000, route=route), clock.now_s()
    day = served(clock, [Arrival(start_s, app, 1), Arrival(start_s, app, 2, ("exit9",)), Arrival(start_s, app, 3)])
    assert sizes(route) == [[1, 1]]
    assert [type(a.reply).__name__ for a in day.answers] == ["Failure", "Result", "Result"]


def test_times_of_batches_say_nothing_about_the_profile_but_count_as_latency() -> None:
    clock = FakeClock()
    app = live_app(budget_ms=1000, route=timed_route(clock, 5, batch_ms=((2, 5.0),)))
    served(clock, [Arrival(clock.now_s(), app, n) for n in (1, 2, 3)])
    seen = app.meter.since(0.0)
    assert [bool(observation.expected) for observation in seen] == [False, False, True]
    assert [observation.latency_ms for observation in seen] == pytest.approx([5.0, 5.0, 10.0])
    assert [observation.run_ms for observation in seen] == pytest.approx([5.0, 5.0, 5.0])


def test_a_frame_that_two_apps_share_is_left_out() -> None:
    """What is computed of it is computed once in any case."""
    clock, prefixes = FakeClock(), Prefixes()
    route = timed_route(clock, 5, 5, batch_ms=((2, 5.0),))
    apps = [live_app(f"cam{n}", route=route) for n in range(2)]
    for app in apps:
        app.uid = 1000
    executor = Executor(NumpyEngine(), clock, prefixes=prefixes)
    frames = [StreamFrame("door", n) for n in range(3)]
    jobs = [Job(app, 1, np.zeros((1, 2, 2, 1), np.uint8), NOW_S, (), frame) for frame in frames for app in apps]
    for job in jobs:
        executor.start(job)
    last = jobs[-1]
    assert last.shared is not None
    assert batches_of(last) == ()
    plain = job_for(live_app(route=route))
    executor.start(plain)
    assert batches_of(plain)
    assert not at_same_block(last, plain)


# With real engines.


def stepped_together(executor: Executor, jobs: list[Job]) -> None:
    for job in jobs:
        executor.start(job)
    while not executor.step_together(jobs)[0]:
        pass


def outputs_of(executor: Executor, app: LiveApp, frames: list[Any], *, together: bool) -> list[Any]:
    jobs = [Job(app, n, frame, 0.0) for n, frame in enumerate(frames)]
    if together:
        stepped_together(executor, jobs)
    else:
        for job in jobs:
            executor.start(job)
            while not executor.step(job):
                pass
    return [executor.finish(job)[1][0] for job in jobs]


def test_a_batch_gives_what_its_frames_give_alone(tmp_path: Path) -> None:
    """Of an ONNX network in two blocks, to a millionth of its largest output: kernels may add up in another order."""
    onnx = pytest.importorskip("schedulerd.serving.engines.onnx", reason="runs ONNX files")
    engine = onnx.OnnxEngine()
    (tmp_path / "stem").write_bytes(tiny.stem(8))
    (tmp_path / "head").write_bytes(tiny.head(8))
    app = live_app(route=route_of(engine.load(tmp_path / "stem"), engine.load(tmp_path / "head")))
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (1, *tiny.FRAME.shape), np.uint8) for _ in range(5)]
    executor = Executor(engine, FakeClock())
    alone = outputs_of(executor, app, frames, together=False)
    joined = outputs_of(executor, app, frames, together=True)
    assert [output.shape for output in joined] == [(1, *tiny.LOGITS.shape)] * 5
    np.testing.assert_allclose(joined, alone, rtol=0, atol=1e-6 * float(np.abs(alone).max()))
    assert len({output.tobytes() for output in alone}) == 5, "frames that are all alike prove nothing"


def test_a_batch_of_torch_tensors_gives_what_its_frames_give_alone(tmp_path: Path) -> None:
    """As above, of two convolutions, which hand on tensors in an order of their own."""
    torch = pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")
    from blockstore import torchform
    from schedulerd.serving.engines.torch import TorchEngine

    engine, blocks = TorchEngine(), []
    for number, (inputs, outputs) in enumerate([(3, 8), (8, 4)]):
        module = torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 3, padding=1), torch.nn.ReLU()).eval()
        (tmp_path / str(number)).write_bytes(torchform.save(torch.fx.symbolic_trace(module)))
        blocks.append(engine.load(tmp_path / str(number)))
    generator = np.random.default_rng(0)
    frames = [generator.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(3)]
    executor, app = Executor(engine, FakeClock()), live_app(route=route_of(*blocks))
    alone = outputs_of(executor, app, frames, together=False)
    joined = outputs_of(executor, app, frames, together=True)
    np.testing.assert_allclose(joined, alone, rtol=0, atol=1e-6 * float(np.abs(alone).max()))


class Joins(NumpyEngine):
    """Counts how often tensors are put side by side."""

    joined = 0

    def join(self, tensors: Any) -> Any:
        self.joined += 1
        return super().join(tensors)


def test_a_batch_that_goes_on_as_it_is_is_not_put_together_again() -> None:
    engine = Joins()
    app = live_app(route=route_of(AddBlock(), AddBlock(), AddBlock()))
    executor = Executor(engine, FakeClock())
    jobs = [job_for(app, message_id=n) for n in range(3)]
    for job in jobs:
        executor.start(job)
    executor.step_together(jobs)
    executor.step_together(jobs)
    assert engine.joined == 1
    executor.step_together(jobs[1:])
    assert engine.joined == 2


def test_a_batch_of_which_one_went_on_alone_is_put_together_anew() -> None:
    engine = Joins()
    app = live_app(route=route_of(AddBlock(1), AddBlock(10), AddBlock(100)))
    executor = Executor(engine, FakeClock())
    jobs = [job_for(app, message_id=n) for n in range(2)]
    for job in jobs:
        executor.start(job)
    executor.step_together(jobs)
    for job in jobs:
        executor.step(job)
    executor.step_together(jobs)
    assert engine.joined == 2
    assert [float(executor.finish(job)[1][0].max()) for job in jobs] == [111.0, 111.0]


def test_a_lane_serves_as_much_again_with_batches_that_pay() -> None:
    """A hundred frames at twice the rate that the lane can do alone; a batch of four takes as long as one frame."""

    def met(batch_ms: tuple[tuple[int, float], ...]) -> int:
        clock = FakeClock()
        route = timed_route(clock, 10, batch_ms=batch_ms)
        day: Day = served(clock, every(0.005, live_app(budget_ms=50, route=route), clock, 100))
        return sum(isinstance(a.reply, Result) and a.reply.deadline_met for a in day.answers)

    assert met(()) < 60
    assert met(((4, 10.0),)) > 90
