"""A real lane on a scripted day: requests arrive when the script says, and only blocks let time pass."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from schedulerd.errors import Overloaded
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.executor import Executor
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.lane import Lane
from schedulerd.serving.queue import DeadlineQueue
from schedulerd.serving.route import ExpectedBlock, LoadedRoute
from schedulerd.wire.codec import decode_reply
from schedulerd.wire.messages import Failure, Result
from tests.fakes import FakeClock
from tests.serving.parts import AddBlock, NumpyEngine, job_for, route_of


class Arrival(NamedTuple):
    """A request."""

    at_s: float
    app: LiveApp
    message_id: int
    asked: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a client is told, and when."""

    at_s: float
    app: str
    reply: Result | Failure


class Day(Gateway):
    """Takes the part of the sockets: a turn takes in what has arrived by now, and an idle one waits for the next."""

    def __init__(self, clock: FakeClock, queue: DeadlineQueue) -> None:
        self.baton = threading.Lock()
        self.outbox = ()
        self.clock = clock
        self.queue = queue
        self.arrivals: list[Arrival] = []
        self.answers: list[Answer] = []
        self.refused: list[Arrival] = []
        """By the queue, when they arrived."""
        self.over = threading.Event()

    def turn(self, wait_s: float = 0.0) -> None:
        if wait_s and self.arrivals:
            self.clock.advance(max(0.0, self.arrivals[0].at_s - self.clock.now_s()))
        elif wait_s:
            self.over.set()
        while self.arrivals and self.arrivals[0].at_s <= self.clock.now_s():
            arrival = self.arrivals.pop(0)
            try:
                self.queue.put(job_for(arrival.app, arrival.at_s, arrival.message_id, arrival.asked))
            except Overloaded:
                self.refused.append(arrival)

    def reply(self, identity: bytes, frames: Sequence[Any]) -> None:
        reply, _ = decode_reply([bytes(frame) for frame in frames])
        assert isinstance(reply, Result | Failure)
        self.answers.append(Answer(self.clock.now_s(), identity.decode(), reply))

    def wake(self) -> None:
        """There is one lane, and it is awake."""

    def pass_baton(self) -> None:
        self.baton.release()


class LaneForADay(Lane):
    """Stops when the day is over."""

    def __init__(self, day: Day, queue: DeadlineQueue, executor: Executor, clock: FakeClock, *, preempt: bool) -> None:
        super().__init__(0, day, queue, executor, clock, preempt=preempt)
        self._stopped = day.over


def served(
    clock: FakeClock, arrivals: Iterable[Arrival], *, length: int = 64, per_app: int = 64, preempt: bool = True
) -> Day:
    """Serve all of a script on one lane, in this thread."""
    queue = DeadlineQueue(length, per_app, clock)
    day = Day(clock, queue)
    day.arrivals = sorted(arrivals, key=lambda arrival: arrival.at_s)
    LaneForADay(day, queue, Executor(NumpyEngine(), clock), clock, preempt=preempt).run()
    assert queue.open == 0
    return day


def every(period_s: float, app: LiveApp, clock: FakeClock, times: int) -> list[Arrival]:
    """A steady stream from now on; message ids count from 1."""
    return [Arrival(clock.now_s() + n * period_s, app, n + 1) for n in range(times)]


class TimedBlock(AddBlock):
    """A block that takes a given time a run, whatever the batch, and remembers how many frames each run had."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__(1.0, lambda: clock.advance(seconds))
        self.frames: list[int] = []

    def run(self, tensor: Any) -> Any:
        self.frames.append(len(tensor))
        return super().run(tensor)


def timed_route(clock: FakeClock, *blocks_ms: float, batch_ms: tuple[tuple[int, float], ...] = ()) -> LoadedRoute:
    """Blocks that take as long as the profile says, of which batches are known to take what is given."""
    expected = tuple(
        ExpectedBlock(n, (f"r{n}",), "onnxruntime", ms, ms, ms, batch_ms) for n, ms in enumerate(blocks_ms)
    )
    route = route_of(*(TimedBlock(clock, ms * 1e-3) for ms in blocks_ms), expected=expected)
    return replace(route, soonest_s=sum(blocks_ms) * 1e-3)
