"""Exits on the request path: who leaves where, with what output, and what is said and counted of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from schedulerd.errors import BadValue
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.messages import Result
from tests.fakes import FakeClock
from tests.serving.parts import AddBlock, NumpyEngine, SureHead, exit_of, job_for, live_app, route_with


def blocks(count: int, clock: FakeClock | None = None, ms: float = 0.0) -> list[AddBlock]:
    """Blocks that add 1, 10, 100, ... and take `ms` each on `clock`."""
    watch = (lambda: clock.advance(ms * 1e-3)) if clock else (lambda: None)
    return [AddBlock(10.0**n, watch) for n in range(count)]


def run(
    route: LoadedRoute,
    *,
    clock: FakeClock | None = None,
    budget_ms: float = 50.0,
    late: str = "run",
    asked: tuple[str, ...] = (),
) -> tuple[Result, list[float], Job]:
    """The reply of a frame of zeros, and of each tensor its value, which all its elements have."""
    clock = clock or FakeClock()
    job = job_for(live_app(budget_ms=budget_ms, late=late, route=route), clock.now_s(), asked=asked)
    executor = Executor(NumpyEngine(), clock)
    executor.start(job)
    while not executor.step(job):
        pass
    header, outputs = executor.finish(job)
    return header, [float(o.max()) for o in outputs], job


def observed(job: Job) -> Any:
    (observation,) = job.app.meter.since(-math.inf)
    return observation


def test_a_confident_frame_leaves_with_the_output_of_that_head() -> None:
    head = SureHead(0.9, amount=0.5)
    header, outputs, job = run(route_with(exit_of(0, head), blocks=blocks(3)))
    assert outputs == [1.5]
    assert (header.exit, header.left, header.confidence, header.route) == (
        "exit1",
        "confident",
        0.9,
        ("r0", "r1", "r2"),
    )
    assert job.next_block == 1


def test_a_frame_that_no_exit_is_sure_of_runs_to_the_end() -> None:
    unsure = [exit_of(0, SureHead(0.4)), exit_of(1, SureHead(0.49))]
    header, outputs, job = run(route_with(*unsure, blocks=blocks(3)))
    assert outputs == [111]
    assert (header.exit, header.left, header.confidence, header.accuracy) == ("final", "end", None, 0.95)
    assert observed(job).evaluated == (("exit1", False), ("exit2", False))


def test_a_frame_leaves_at_the_first_exit_that_is_sure_enough() -> None:
    later = SureHead(1.0)
    exits = exit_of(0, SureHead(0.4)), exit_of(1, SureHead(0.5)), exit_of(2, later)
    header, outputs, job = run(route_with(*exits, blocks=blocks(4)))
    assert (header.exit, outputs, later.taken) == ("exit2", [11], [])
    assert (observed(job).exit, observed(job).left) == ("exit2", "confident")
    assert observed(job).evaluated == (("exit1", False), ("exit2", True))


@pytest.mark.parametrize("threshold", [1e-9, 0.5, 1.0])
def test_a_confidence_that_is_no_number_never_leaves(threshold: float) -> None:
    header, outputs, _ = run(route_with(exit_of(0, SureHead(math.nan), threshold), blocks=blocks(2)))
    assert (header.exit, outputs) == ("final", [11])


def test_an_exit_that_caps_the_depth_answers_every_frame_that_comes_so_far() -> None:
    """Also the one whose confidence is no number, which is told as none."""
    header, outputs, job = run(route_with(exit_of(1, SureHead(math.nan, 0.5), 0.0), blocks=blocks(2)))
    assert outputs == [11.5]
    assert (header.exit, header.left, header.confidence, header.accuracy) == ("exit2", "end", None, 0.95)
    assert observed(job).evaluated == ()


def test_an_exit_that_the_policy_does_not_use_is_not_evaluated() -> None:
    head = SureHead(1.0)
    header, _, _ = run(route_with(exit_of(0, head, None), blocks=blocks(2)), late="drop")
    assert (header.exit, head.taken) == ("final", [])


@pytest.mark.parametrize(("confidence", "accuracy"), [(0.55, 0.9), (0.3, 0.3)])
def test_the_accuracy_of_an_early_answer_is_that_of_frames_as_confident(confidence: float, accuracy: float) -> None:
    header, _, _ = run(route_with(exit_of(0, SureHead(confidence), 0.2), blocks=blocks(2)))
    assert header.accuracy == pytest.approx(accuracy)


def test_the_blocks_that_ran_are_timed_one_by_one_and_without_their_heads() -> None:
    clock = FakeClock()
    heads = [SureHead(confidence, watch=lambda: clock.advance(0.003)) for confidence in (0.1, 0.9)]
    exits = exit_of(0, heads[0]), exit_of(1, heads[1])
    route = route_with(*exits, blocks=blocks(4, clock, ms=2))
    _, _, job = run(route, clock=clock)
    assert observed(job).blocks_ms == pytest.approx((2, 2))
    assert observed(job).run_ms == pytest.approx(10)
    assert observed(job).expected is route.expected


def test_time_in_heads_counts_as_time_in_blocks() -> None:
    clock = FakeClock()
    head = SureHead(0.9, watch=lambda: clock.advance(0.003))
    header, _, _ = run(route_with(exit_of(0, head), blocks=blocks(2, clock, ms=2)), clock=clock)
    assert header.run_ms == pytest.approx(5)
    assert header.queue_ms == pytest.approx(0)


# Heads that take the outputs of two blocks.


def test_a_head_takes_the_tensors_of_its_blocks_in_order() -> None:
    head = SureHead(0.9)
    exits = exit_of(0, SureHead(0.1)), exit_of(2, head, inputs=(0, 2))
    run(route_with(*exits, blocks=blocks(4)))
    assert [float(tensor.max()) for tensor in head.taken[0]] == [1, 111]


def test_an_output_that_two_later_heads_take_is_kept_for_both() -> None:
    second, third = SureHead(0.1), SureHead(0.1)
    exits = exit_of(1, second, inputs=(0, 1)), exit_of(2, third, inputs=(0, 2))
    run(route_with(*exits, blocks=blocks(4)))
    assert [float(tensor.max()) for tensor in second.taken[0]] == [1, 11]
    assert [float(tensor.max()) for tensor in third.taken[0]] == [1, 111]


def test_an_output_is_let_go_when_no_later_head_takes_it() -> None:
    route = route_with(exit_of(0, SureHead(0.1)), exit_of(1, SureHead(0.1), inputs=(0, 1)), blocks=blocks(4))
    job = job_for(live_app(route=route))
    executor = Executor(NumpyEngine(), FakeClock())
    executor.start(job)
    kept = []
    for _ in range(4):
        executor.step(job)
        assert job.passage is not None
        kept.append(sorted(job.passage._heads._kept))  # type: ignore[attr-defined]  # what is in memory, not what is said
    assert kept == [[0], [0], [], []]


# Late policy `exit`.


def late_route(clock: FakeClock, onward_ms: float = 10.0) -> LoadedRoute:
    """Four blocks of 10 ms; exits after the first three, of which the policy uses none."""
    return route_with(
        *(exit_of(n, SureHead(0.3, 0.5), None, onward_ms=onward_ms) for n in range(3)), blocks=blocks(4, clock, ms=10)
    )


@pytest.mark.parametrize(
    ("budget_ms", "exit_", "left"),
    [(45.0, "final", "end"), (35.0, "exit3", "deadline"), (25.0, "exit2", "deadline"), (15.0, "exit1", "deadline")],
)
def test_a_late_frame_leaves_at_the_last_exit_that_meets_its_deadline(budget_ms: float, exit_: str, left: str) -> None:
    clock = FakeClock()
    header, _, job = run(late_route(clock), clock=clock, budget_ms=budget_ms, late="exit")
    assert (header.exit, header.left, header.deadline_met) == (exit_, left, True)
    assert (observed(job).left, observed(job).evaluated) == (left, ())


def test_where_no_exit_meets_the_deadline_the_frame_leaves_at_the_first() -> None:
    clock = FakeClock()
    header, outputs, _ = run(late_route(clock), clock=clock, budget_ms=5, late="exit")
    assert (header.exit, header.left, header.deadline_met, outputs) == ("exit1", "deadline", False, [1.5])


def test_a_frame_that_is_late_before_it_starts_is_not_refused() -> None:
    clock = FakeClock()
    job = job_for(live_app(budget_ms=5, late="exit", route=late_route(clock)), clock.now_s())
    clock.advance(1.0)
    executor = Executor(NumpyEngine(), clock)
    executor.start(job)
    assert executor.step(job)
    assert executor.finish(job)[0].exit == "exit1"


def test_a_frame_that_leaves_for_its_deadline_says_how_accurate_that_is() -> None:
    clock = FakeClock()
    header, _, _ = run(late_route(clock), clock=clock, budget_ms=15, late="exit")
    assert (header.confidence, header.accuracy) == (0.3, pytest.approx(0.3))


def test_a_head_is_evaluated_once_though_policy_and_deadline_ask_for_it() -> None:
    clock = FakeClock()
    head = SureHead(0.3)
    route = route_with(exit_of(0, head, 0.5, onward_ms=100), blocks=blocks(2, clock, ms=10))
    header, _, job = run(route, clock=clock, late="exit")
    assert (header.left, len(head.taken)) == ("deadline", 1)
    assert observed(job).evaluated == (("exit1", False),)


@pytest.mark.parametrize("late", ["run", "drop"])
def test_with_another_late_policy_no_frame_leaves_for_its_deadline(late: str) -> None:
    clock = FakeClock()
    header, _, _ = run(late_route(clock), clock=clock, budget_ms=5, late=late)
    assert (header.exit, header.left, header.deadline_met) == ("final", "end", False)


# Requests that ask for given exits.


def asking_route() -> LoadedRoute:
    return route_with(
        exit_of(0, SureHead(0.9, 0.1)),
        exit_of(1, SureHead(0.3, 0.2), None, inputs=(0, 1)),
        exit_of(2, SureHead(0.8, 0.3)),
        blocks=blocks(4),
    )


def test_asked_exits_in_one_pass_give_what_separate_requests_give() -> None:
    names = ("exit3", "final", "exit1", "exit2")
    separate = [run(asking_route(), asked=(name,))[1][0] for name in names]
    header, together, job = run(asking_route(), asked=names)
    assert together == separate == pytest.approx([111.3, 1111, 1.1, 12.2])
    assert (header.exits, header.exit, header.left, header.confidence) == (names, "final", "asked", None)
    assert (observed(job).left, observed(job).evaluated) == ("asked", ())


def test_asked_exits_run_no_deeper_than_the_deepest() -> None:
    header, outputs, job = run(asking_route(), asked=("exit2", "exit1"))
    assert (outputs, job.next_block) == (pytest.approx([12.2, 1.1]), 2)
    assert (header.exit, header.confidence, header.accuracy) == ("exit2", 0.3, pytest.approx(0.3))


def test_asked_exits_do_not_leave_for_a_deadline() -> None:
    clock = FakeClock()
    header, _, _ = run(late_route(clock), clock=clock, budget_ms=5, late="exit", asked=("exit1", "exit3"))
    assert (header.exit, header.left, header.deadline_met) == ("exit3", "asked", False)


def test_the_end_may_be_asked_for_where_there_are_no_exits() -> None:
    app = live_app()
    job = job_for(app, asked=("final",))
    executor = Executor(NumpyEngine(), FakeClock())
    executor.start(job)
    assert [executor.step(job), executor.step(job)] == [False, True]
    header, _ = executor.finish(job)
    assert (header.exit, header.left, header.exits) == ("final", "asked", ("final",))


def test_an_exit_that_a_swap_took_away_since_admission_is_refused_with_those_there_are() -> None:
    capped = route_with(exit_of(0, SureHead(), 0.0), blocks=blocks(1))
    job = job_for(live_app(route=capped), asked=("final",))
    with pytest.raises(BadValue, match=r"no exit 'final'; it has exit1, as its policy ends at 'exit1'"):
        Executor(NumpyEngine(), FakeClock()).start(job)
    assert capped.pins.drained
