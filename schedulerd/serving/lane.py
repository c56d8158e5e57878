"""The lane: take the most urgent job, run one block, glance at the sockets, decide again.

A lane is one thread. While it has work it runs blocks; while it has none it takes the gateway's baton and waits on the
sockets (see `gateway`). With several lanes the idle ones stand in line for the baton, so a message waits for a block to
end only when every lane is running one.
"""

from __future__ import annotations

import threading

import structlog

from schedulerd.clock import Clock
from schedulerd.errors import InternalError, SchedulerdError
from schedulerd.serving.executor import Executor
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.job import Job
from schedulerd.serving.queue import DeadlineQueue
from schedulerd.wire.codec import encode
from schedulerd.wire.messages import Failure

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.000_3
"""A lane that runs blocks looks at the sockets at the first block boundary after this long: an urgent frame waits
for it or for one block, whichever is longer, and blocks of microseconds do not each pay for a system call."""
IDLE_WAIT_S = 0.5
"""Longest wait on sockets or baton: bounds how late a stop is noticed and how old a heartbeat can be."""


class Lane(threading.Thread):
    """One executor thread."""

    def __init__(self, number: int, gateway: Gateway, queue: DeadlineQueue, executor: Executor, clock: Clock) -> None:
        super().__init__(name=f"lane-{number}", daemon=True)
        self._gateway = gateway
        self._queue = queue
        self._executor = executor
        self._clock = clock
        self._stopped = threading.Event()
        self._looked_at_s = clock.now_s()
        self.alive_at_s = clock.now_s()
        """When the lane last came round; the watchdog reads it."""

    def run(self) -> None:
        """Serve until stopped. Nothing a request does ends the thread."""
        job: Job | None = None
        while not self._stopped.is_set():
            self.alive_at_s = self._clock.now_s()
            try:
                job = self._advance(job) if job is not None else self._next_job()
            except Exception:
                # A fault of ours outside of any request. It is logged with its trace, and the lane goes on.
                log.exception("lane_fault", lane=self.name)
                job = None

    def stop(self) -> None:
        """Leave the loop at the next block boundary."""
        self._stopped.set()
        self._gateway.wake()

    def _next_job(self) -> Job | None:
        job = self._queue.take()
        if job is not None or not self._gateway.baton.acquire(timeout=IDLE_WAIT_S):
            return job
        try:
            # The lane that held the baton before may have admitted more jobs than it took.
            job = self._queue.take()
            if job is None:
                self._gateway.turn(IDLE_WAIT_S)
                self._looked_at_s = self._clock.now_s()
                job = self._queue.take()
            return job
        finally:
            self._gateway.pass_baton()

    def _advance(self, job: Job) -> Job | None:
        """Run one block of `job`; returns the job to go on with, which is another one if that is more urgent."""
        try:
            if job.route is None:
                self._executor.start(job)
            finished = self._executor.step(job)
            if finished:
                header, outputs = self._executor.finish(job)
                self._gateway.reply(job.app.identity, encode(header, outputs))
        except Exception as error:
            finished = True
            self._fail(job, error)
        if finished:
            self._queue.done(job)
            self._look_at_sockets(replied=True)
            return None
        if self._clock.now_s() - self._looked_at_s >= LOOK_EVERY_S:
            self._look_at_sockets(replied=False)
        following = self._queue.exchange(job)
        if following is not job:
            # `job` waits again, and another lane may be idle on the sockets.
            self._gateway.wake()
        return following

    def _look_at_sockets(self, *, replied: bool) -> None:
        if self._gateway.baton.acquire(blocking=False):
            self._looked_at_s = self._clock.now_s()
            try:
                self._gateway.turn()
            except Exception:
                # The job in hand must not be lost to somebody else's message.
                log.exception("gateway_fault", lane=self.name)
            finally:
                self._gateway.pass_baton()
        elif replied:
            # The lane that waits on the sockets sends our reply.
            self._gateway.wake()

    def _fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, SchedulerdError):
            refusal = error
        else:
            log.exception("request_failed", app=job.app.spec.app_id, block=job.next_block)
            refusal = InternalError(f"block {job.next_block} failed: {type(error).__name__}; see the daemon's log")
        job.app.meter.refuse(refusal.code)
        self._gateway.reply(job.app.identity, encode(Failure(job.message_id, refusal.code, str(refusal))))
