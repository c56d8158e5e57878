"""The lane: take the most urgent job, run a block, glance at the sockets, decide again.

Where nobody waits and the last glance was just now, there is nothing to decide, and the next block follows at once.

A block may run on the frames of several jobs at once (see `batching`). They are one job only that long: at the boundary
the others wait again like everybody, so whatever is decided there is decided of each.

A lane is one thread. While it has work it runs blocks; while it has none it takes the gateway's baton and waits on the
sockets (see `gateway`). With several lanes the idle ones stand in line for the baton, so a message waits for a block to
end only when every lane is running one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from schedulerd.clock import Clock
from schedulerd.errors import InternalError, SchedulerdError
from schedulerd.serving.batching import batches_of, companions, largest_of, may_join
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

    def __init__(
        self,
        number: int,
        gateway: Gateway,
        queue: DeadlineQueue,
        executor: Executor,
        clock: Clock,
        *,
        preempt: bool = True,
    ) -> None:
        """Args: number; gateway; queue; executor; clock; preempt: whether a job may overtake one that has started."""
        super().__init__(name=f"lane-{number}", daemon=True)
        self._gateway = gateway
        self._queue = queue
        self._executor = executor
        self._clock = clock
        self._preempt = preempt
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
        """Leave the loop after the block that runs, and what runs on behind it for `LOOK_EVERY_S` at most."""
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
        """Run `job` up to where there is something to decide; returns the job to go on with, the more urgent one."""
        outcome = self._stepped(job)
        if outcome is not False:
            self._end(job, outcome)
            # Where nothing waits, the lane is about to wait on the sockets anyway.
            if self._queue.waiting or self._gateway.outbox:
                self._look_at_sockets()
            return None
        if self._gateway.outbox or self._clock.now_s() - self._looked_at_s >= LOOK_EVERY_S:
            self._look_at_sockets()
        if not self._preempt:
            return job
        following = self._queue.exchange(job)
        if following is not job:
            # `job` waits again, and another lane may be idle on the sockets.
            self._gateway.wake()
        return following

    def _stepped(self, job: Job) -> bool | Failure:
        """Run `job` one block or more: whether it ends with that, or what its client is to be told went wrong."""
        try:
            if job.route is None:
                self._executor.start(job)
            if self._queue.waiting and batches_of(job):
                return self._step_together(job)
            return self._executor.step(job, self._may_go_on)
        except Exception as error:
            return self._failure(job, error)

    def _may_go_on(self, now_s: float) -> bool:
        """Whether there is nothing to decide at a block boundary, so that the job's next block can run at once."""
        return now_s - self._looked_at_s < LOOK_EVERY_S and not (self._queue.waiting or self._gateway.outbox)

    def _step_together(self, job: Job) -> bool | Failure:
        """The same with those of the jobs that wait for which it pays; they wait again afterwards, or have ended."""
        chosen = self._queue.claim(lambda waiting: companions(job, waiting, self._clock.now_s()))
        started = [other for other in chosen if self._begins(other)]
        able = [other for other in started if may_join(other, job)]
        # Some may have been refused, and a swap may have come between: batches of other sizes were not measured.
        joined = able[: largest_of(1 + len(able), batches_of(job)) - 1]
        self._let_wait([other for other in started if other not in joined])
        if not joined:
            return self._executor.step(job)
        together = [job, *joined]
        outcome, *outcomes = map(self._told, together, self._executor.step_together(together))
        self._let_wait([other for other, its in zip(joined, outcomes, strict=True) if its is False])
        for other, its in zip(joined, outcomes, strict=True):
            if its is not False:
                self._end(other, its)
        return outcome

    def _told(self, job: Job, outcome: bool | Exception) -> bool | Failure:
        return outcome if isinstance(outcome, bool) else self._failure(job, outcome)

    def _begins(self, job: Job) -> bool:
        """Start a job that has not been; one that is refused is answered."""
        try:
            if job.route is None:
                self._executor.start(job)
        except Exception as error:
            self._end(job, self._failure(job, error))
            return False
        return True

    def _let_wait(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self._queue.put_back(jobs)
            # Another lane may be idle on the sockets.
            self._gateway.wake()

    def _end(self, job: Job, outcome: bool | Failure) -> None:
        """Answer a job that has run to its end, or has failed."""
        try:
            frames = encode(outcome) if isinstance(outcome, Failure) else encode(*self._executor.finish(job))
        except Exception as error:
            frames = encode(self._failure(job, error))
        # Before the answer leaves: it lets the client send the next frame, which must find room.
        self._queue.done(job)
        self._gateway.reply(job.app.identity, frames)

    def _look_at_sockets(self) -> None:
        if self._gateway.baton.acquire(blocking=False):
            self._looked_at_s = self._clock.now_s()
            try:
                self._gateway.turn()
            except Exception:
                # The job in hand must not be lost to somebody else's message.
                log.exception("gateway_fault", lane=self.name)
            finally:
                self._gateway.pass_baton()
        elif self._gateway.outbox:
            # The lane that waits on the sockets sends our reply, or that of a job which was in a batch with ours.
            self._gateway.wake()

    def _failure(self, job: Job, error: Exception) -> Failure:
        if isinstance(error, SchedulerdError):
            refusal = error
        else:
            log.error("request_failed", app=job.app.spec.app_id, block=job.next_block, exc_info=error)
            refusal = InternalError(f"block {job.next_block} failed: {type(error).__name__}; see the daemon's log")
        job.app.meter.refuse(refusal.code)
        return Failure(job.message_id, refusal.code, str(refusal))
