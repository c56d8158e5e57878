"""Request and route to reply, one block at a time, so that the queue can decide again between blocks."""

from __future__ import annotations

from typing import Any

from blockstore.block import TensorSpec
from blockstore.exits import FINAL
from blockstore.outputs import unpack
from schedulerd.clock import Clock
from schedulerd.errors import DeadlinePassed, NotRegistered
from schedulerd.serving.admission import admit_exits
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.job import Job
from schedulerd.serving.meter import Observation
from schedulerd.serving.passage import AskedPassage, Departure, Passage, PolicyPassage
from schedulerd.serving.route import LoadedRoute, RouteExits
from schedulerd.wire.messages import Result, TensorHeader


class Executor:
    """Runs jobs on the route that their app has when they start."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def start(self, job: Job) -> None:
        """Take and pin the app's route.

        Raises `DeadlinePassed` where the app wants late requests dropped and this one would be, `BadValue` where the
        route has changed since the request was admitted and has an exit no more that it asks for.
        """
        app = job.app
        route = app.route
        if route is None:
            raise NotRegistered(f"{app.spec.app_id!r} has no route any more; register again")
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
        job.tensor = self._engine.feed(job.array)

    def step(self, job: Job) -> bool:
        """Run the job's next block, and the exit after it; True when the job ends there."""
        assert job.route is not None, "start() comes before step()"
        blocks, block = job.route.blocks, job.next_block
        began_s = self._clock.now_s()
        job.tensor = blocks[block].run(job.tensor)
        ended_s = self._clock.now_s()
        job.blocks_ms.append((ended_s - began_s) * 1e3)
        job.next_block = block + 1
        if job.passage is None:
            return job.next_block == len(blocks)
        leaves = job.passage.leaves(block, job.tensor)
        job.heads_ms += (self._clock.now_s() - ended_s) * 1e3
        return leaves or job.next_block == len(blocks)

    def finish(self, job: Job) -> tuple[Result, tuple[Array, ...]]:
        """The reply of a job that has ended, an array for each output; its cost goes into the app's meter."""
        route = job.route
        assert route is not None
        accuracy = route.full_accuracy if job.asked else route.accuracy
        end = job.passage.departure(job.tensor, accuracy) if job.passage is not None else _at_end(job, route)
        outputs = self._fetched(end.tensors, job.app.outputs)
        now_s = self._clock.now_s()
        latency_ms = (now_s - job.arrived_s) * 1e3
        run_ms = sum(job.blocks_ms) + job.heads_ms
        met = now_s <= job.deadline_s
        job.app.meter.add(
            Observation(
                at_s=now_s,
                latency_ms=latency_ms,
                run_ms=run_ms,
                deadline_met=met,
                blocks_ms=tuple(job.blocks_ms),
                expected=route.expected,
                plan=route.plan,
                exit=end.exit,
                left=end.left,
                evaluated=end.evaluated,
            )
        )
        header = Result(
            id=job.message_id,
            tensors=tuple(TensorHeader(output.dtype.name, output.shape) for output in outputs),
            plan=route.plan,
            route=route.route.variants,
            accuracy=end.accuracy,
            queue_ms=latency_ms - run_ms,
            run_ms=run_ms,
            budget_ms=job.budget_ms,
            deadline_met=met,
            exit=end.exit,
            left=end.left,
            confidence=end.confidence,
            exits=job.asked,
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
