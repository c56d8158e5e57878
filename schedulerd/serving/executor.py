"""Request and route to reply, one block at a time, so that the queue can decide again between blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import structlog

from blockstore.block import TensorSpec
from blockstore.exits import FINAL
from blockstore.outputs import unpack
from schedulerd.clock import Clock
from schedulerd.errors import DeadlinePassed, EngineError
from schedulerd.serving.admission import admit_exits
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.events import Faulted
from schedulerd.serving.faults import Faults, ignore, is_finite
from schedulerd.serving.job import Job, Row
from schedulerd.serving.meter import Observation
from schedulerd.serving.passage import AskedPassage, Departure, Passage, PolicyPassage
from schedulerd.serving.prefix import Prefixes, Shared
from schedulerd.serving.route import LoadedRoute, RouteExits
from schedulerd.wire.codec import header_of
from schedulerd.wire.messages import Result

log = structlog.get_logger(__name__)

GoesOn = Callable[[float], bool]
"""Whether, at this time, a job may run its next block without anybody being asked who is more urgent."""


def _never(_: float) -> bool:
    return False


class Executor:
    """Runs jobs on the route that their app has when they start."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        report: Callable[[Faulted], None] = ignore,
        prefixes: Prefixes | None = None,
    ) -> None:
        """A way from request to reply.

        Args: engine: takes and gives tensors at the two ends; clock; report: is told what failed as it ran; prefixes:
        of all camera streams.
        """
        self._engine = engine
        self._clock = clock
        self._faults = Faults(engine, report)
        self._prefixes = prefixes or Prefixes()

    def start(self, job: Job) -> None:
        """Take and pin the app's route.

        Raises `DeadlinePassed` where the app wants late requests dropped and this one would be, `BadValue` where the
        route has changed since the request was admitted and has an exit no more that it asks for.
        """
        app = job.app
        route = app.route
        if route is None:
            raise app.without_route()
        if app.spec.late == "drop":
            late_s = self._clock.now_s() + app.slowdown * route.soonest_s - job.deadline_s
            if late_s > 0:
                raise DeadlinePassed(
                    f"dropped, for it would be {late_s * 1e3:.1f} ms late at best, as the app's late policy asks"
                )
        if job.asked:
            admit_exits(job.asked, app.spec.model, route, len(app.outputs))
        route.pins.take()
        job.route = route
        if route.exits is not None:
            job.passage = self._passage(job, route.exits)
        if job.frame is not None:
            job.shared = self._prefixes.begin(app, job.frame, route, job.arrived_s)
        if job.shared is None:
            self._enter(job)

    def step(self, job: Job, goes_on: GoesOn = _never) -> bool:
        """Run the job's next block, and the exit after it; True when the job ends there.

        Likewise the blocks after it for as long as `goes_on`, told the time, allows it; not of frames of a stream, of
        which another app may have run the next block.
        """
        if job.shared is None:
            return self._run(job, goes_on)
        try:
            return self._takes_over(job, job.shared) or self._run(job, _never)
        finally:
            job.shared.release()

    def _run(self, job: Job, goes_on: GoesOn) -> bool:
        assert job.route is not None, "start() comes before step()"
        blocks, passage, shared, now_s = job.route.blocks, job.passage, job.shared, self._clock.now_s
        while True:
            began_s = now_s()
            try:
                job.tensor = blocks[job.next_block].run(job.tensor)
            except Exception as error:
                raise self._faults.of_block(job, error) from error
            ended_s = now_s()
            job.blocks_ms.append((ended_s - began_s) * 1e3)
            job.next_block += 1
            if shared is not None:
                shared.keep(job.next_block, job.tensor)
            ends = job.next_block == len(blocks) if passage is None else self._leaves(job, passage, ended_s)
            # A head may have taken long since the block ended.
            if ends or not goes_on(ended_s if passage is None else now_s()):
                return ends

    def _enter(self, job: Job) -> None:
        """Make the first block's input of the frame."""
        if job.app.preparation is None:
            job.tensor = self._engine.feed(job.array)
            return
        began_s = self._clock.now_s()
        job.tensor = self._engine.feed(job.input())
        job.prepared_ms = (self._clock.now_s() - began_s) * 1e3

    def _takes_over(self, job: Job, shared: Shared) -> bool:
        """Go past blocks that have run on the same frame for another app; True when the job ends there.

        One by one, for the exits between them are each job's own.
        """
        while (tensor := shared.output(job.next_block + 1)) is not None:
            job.tensor = tensor
            job.next_block += 1
            job.taken_over += 1
            if self._ends(job):
                return True
        if job.tensor is None and job.app.preparation is not None:
            job.tensor = shared.output(0)
        if job.tensor is None:
            self._enter(job)
            if job.app.preparation is not None:
                shared.keep(0, job.tensor)
        return False

    def step_together(self, jobs: Sequence[Job]) -> list[bool | Exception]:
        """Run the block that jobs come to next, one and the same for all, as one batch; then the exits, one by one.

        Their tensors have one shape and dtype. Gives for each job what `step` does, or the error that it would raise:
        where the batch fails each runs by itself, so that nobody is answered with another one's error.
        """
        route, block = jobs[0].route, jobs[0].next_block
        assert route is not None, "start() comes before step_together()"
        began_s = self._clock.now_s()
        try:
            batch = route.blocks[block].run(self._joined(jobs))
            if len(batch) != len(jobs):
                raise EngineError(f"{len(jobs)} frames went into block {block} and {len(batch)} came out")
        except Exception as error:
            log.warning("batch_failed", frames=len(jobs), model=route.route.model, block=block, reason=str(error))
            return [_outcome(self.step, job) for job in jobs]
        block_ms = (self._clock.now_s() - began_s) * 1e3
        for number, job in enumerate(jobs):
            job.tensor = batch[number : number + 1]
            job.blocks_ms.append(block_ms)
            job.next_block = block + 1
            job.row = Row(batch, number, block + 1)
            job.in_batches = True
        return [_outcome(self._ends, job) for job in jobs]

    def _joined(self, jobs: Sequence[Job]) -> Any:
        """The jobs' tensors as one batch: the one that they come from, where they are just what is in it."""
        first = jobs[0].row
        if first is not None and len(first.batch) == len(jobs) and all(map(partial(_follows, first), jobs, count())):
            return first.batch
        return self._engine.join([job.tensor for job in jobs])

    def _ends(self, job: Job) -> bool:
        """Whether a job ends with the block that it has just run."""
        assert job.route is not None, "a job that runs has its route"
        if job.passage is None:
            return job.next_block == len(job.route.blocks)
        return self._leaves(job, job.passage, self._clock.now_s())

    def _leaves(self, job: Job, passage: Passage, ended_s: float) -> bool:
        """The same past the exit after the block, which ended at `ended_s`."""
        assert job.route is not None, "a job that runs has its route"
        try:
            leaves = passage.leaves(job.next_block - 1, job.tensor)
        except Exception as error:
            raise self._faults.of_head(job, error) from error
        job.heads_ms += (self._clock.now_s() - ended_s) * 1e3
        return leaves or job.next_block == len(job.route.blocks)

    def finish(self, job: Job) -> tuple[Result, tuple[Array, ...]]:
        """The reply of a job that has ended, an array for each output; its cost goes into the app's meter."""
        route = job.route
        assert route is not None
        accuracy = route.full_accuracy if job.asked else route.accuracy
        end = job.passage.departure(job.tensor, accuracy) if job.passage is not None else _at_end(job, route)
        outputs = self._fetched(end.tensors, job.app.outputs)
        if not all(map(is_finite, outputs)):
            self._faults.check(job, end)
        now_s = self._clock.now_s()
        latency_ms = (now_s - job.arrived_s) * 1e3
        run_ms = job.prepared_ms + sum(job.blocks_ms) + job.heads_ms
        met = now_s <= job.deadline_s
        # What one is made of for every frame is made by position: names would take a third longer.
        job.app.meter.add(
            Observation(
                now_s,
                latency_ms,
                run_ms,
                met,
                tuple(job.blocks_ms),
                # Single frames were measured, and neither the board nor a block is slow because a batch is; what ran
                # for another app has no time of its own.
                () if job.in_batches or job.taken_over else route.expected,
                route.plan,
                end.exit,
                end.left,
                end.evaluated,
            )
        )
        if job.shared is not None:
            job.shared.end(job.app)
            job.app.meter.shared_blocks += job.taken_over
        header = Result(
            job.message_id,
            tuple(map(header_of, outputs)),
            route.plan,
            route.route.variants,
            end.accuracy,
            latency_ms - run_ms,
            run_ms,
            job.budget_ms,
            met,
            end.exit,
            end.left,
            end.confidence,
            job.asked,
        )
        return header, outputs

    def _passage(self, job: Job, exits: RouteExits) -> Passage:
        if job.asked:
            return AskedPassage(exits, job.asked)
        deadline_s = job.deadline_s if job.app.spec.late == "exit" else None
        return PolicyPassage(exits, deadline_s, self._clock.now_s, job.app.slowdown)

    def _fetched(self, tensors: tuple[Any, ...], outputs: tuple[TensorSpec, ...]) -> tuple[Array, ...]:
        if len(tensors) == 1:
            return unpack(self._engine.fetch(tensors[0]), outputs)
        return tuple(array for tensor in tensors for array in unpack(self._engine.fetch(tensor), outputs))


def _at_end(job: Job, route: LoadedRoute) -> Departure:
    """Of a route without exits."""
    left = "asked" if job.asked else "end"
    return Departure(FINAL, left, None, route.accuracy, (job.tensor,))


def _outcome(step: Callable[[Job], bool], job: Job) -> bool | Exception:
    """What a step gives, or the error that it raises, so that the next job has its turn all the same."""
    try:
        return step(job)
    except Exception as error:
        return error


def _follows(first: Row, job: Job, number: int) -> bool:
    """Whether a job's tensor is that row of the batch that `first` is of."""
    row = job.row
    return row is not None and row.batch is first.batch and row.number == number and row.next_block == job.next_block
