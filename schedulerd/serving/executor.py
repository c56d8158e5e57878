"""Request and route to reply, one block at a time, so that the queue can decide again between blocks."""

from __future__ import annotations

from blockstore.outputs import unpack
from schedulerd.clock import Clock
from schedulerd.errors import DeadlinePassed, NotRegistered
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.job import Job
from schedulerd.serving.meter import Observation
from schedulerd.wire.messages import Result, TensorHeader


class Executor:
    """Runs jobs on the route that their app has when they start."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def start(self, job: Job) -> None:
        """Take and pin the app's route. Raises `DeadlinePassed` where the app wants late requests dropped."""
        app = job.app
        if app.spec.late == "drop" and self._clock.now_s() > job.deadline_s:
            late_ms = (self._clock.now_s() - job.deadline_s) * 1e3
            raise DeadlinePassed(f"dropped {late_ms:.1f} ms after its deadline, as the app's late policy asks")
        route = app.route
        if route is None:
            raise NotRegistered(f"{app.spec.app_id!r} has no route any more; register again")
        route.pins.take()
        job.route = route
        job.tensor = self._engine.feed(job.array)

    def step(self, job: Job) -> bool:
        """Run the job's next block; True when it was the last one."""
        assert job.route is not None, "start() comes before step()"
        blocks = job.route.blocks
        began_s = self._clock.now_s()
        job.tensor = blocks[job.next_block].run(job.tensor)
        job.run_s += self._clock.now_s() - began_s
        job.next_block += 1
        return job.next_block == len(blocks)

    def finish(self, job: Job) -> tuple[Result, tuple[Array, ...]]:
        """The reply of a job whose last block has run, an array for each output; its cost goes into the app's meter."""
        route = job.route
        assert route is not None
        outputs = unpack(self._engine.fetch(job.tensor), job.app.outputs)
        now_s = self._clock.now_s()
        latency_ms = (now_s - job.arrived_s) * 1e3
        run_ms = job.run_s * 1e3
        met = now_s <= job.deadline_s
        job.app.meter.add(Observation(now_s, latency_ms, run_ms, route.expected_p95_ms, met))
        header = Result(
            id=job.message_id,
            tensors=tuple(TensorHeader(output.dtype.name, output.shape) for output in outputs),
            plan=route.plan,
            route=route.route.variants,
            accuracy=route.accuracy,
            queue_ms=latency_ms - run_ms,
            run_ms=run_ms,
            budget_ms=job.budget_ms,
            deadline_met=met,
        )
        return header, outputs
