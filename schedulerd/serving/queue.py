"""The bounded queue that all lanes share, asked again at every block boundary. `waiting` has the order.

When it is full, a request of a higher priority takes the place of the least important one that waits and has not been
started: lower priority is refused first, and told so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from schedulerd.clock import Clock
from schedulerd.errors import Overloaded
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.job import Job
from schedulerd.serving.waiting import Waiting

LOOKED_AT = 64
"""Jobs that are asked at a block boundary whether they could run together with the one in hand."""


class DeadlineQueue:
    """Jobs that wait or run. A refused job was never in it, or is handed back; any other is never lost."""

    def __init__(self, length: int, per_app: int, clock: Clock) -> None:
        """Args: length: most that may wait or run; per_app: the same of one app; clock: by which deadlines are."""
        self._length = length
        self.per_app = per_app
        """Requests of one app that may wait or run."""
        self._clock = clock
        self._waiting = Waiting()
        self._lock = threading.Lock()
        self._open = 0

    def put(self, job: Job) -> Job | None:
        """Accept a new job. Returns the job that had to make way for it and is to be refused (`displaced`), else None.

        Raises:
            Overloaded: with the bound, when the app's share of the queue is full, or the queue is and nothing waits in
                it that is less important.
        """
        with self._lock:
            if job.app.queued >= self.per_app:
                raise Overloaded(
                    f"{job.app.queued} requests of {job.app.spec.app_id!r} are open, the limit for one app is "
                    f"{self.per_app}; wait for replies before sending more"
                )
            least = self._make_room(job) if self._open >= self._length else None
            self._open += 1
            job.app.queued += 1
            self._waiting.add(job, job.arrived_s)
            return least

    def displaced(self, job: Job, by: Job) -> Overloaded:
        """What a job is told that had to make way."""
        return Overloaded(
            f"refused in favour of priority {by.app.spec.priority}: {self._length} requests are open in all, which is "
            f"the limit, and this one has priority {job.app.spec.priority}; send slower, raise limits.queue_length or "
            f"its priority"
        )

    def take(self) -> Job | None:
        """The job that is to run next, or None. Jobs of apps that are gone are thrown away here."""
        if not self._waiting.count:
            return None
        with self._lock:
            now_s = self._clock.now_s()
            job = self._waiting.take(now_s)
            while job is not None and job.app.gone:
                self._close(job)
                job = self._waiting.take(now_s)
            return job

    def exchange(self, job: Job) -> Job:
        """At a block boundary: the job to go on with, the given one unless another one is more urgent."""
        # An empty queue needs no lock and no clock: a job that arrives this instant is seen at the next boundary.
        if not self._waiting.count:
            return job
        with self._lock:
            now_s = self._clock.now_s()
            urgent = self._waiting.overtaking(job, now_s)
            while urgent is not None and urgent.app.gone:
                self._close(urgent)
                urgent = self._waiting.overtaking(job, now_s)
            if urgent is None:
                return job
            self._waiting.add(job, now_s)
            return urgent

    def claim(self, choose: Callable[[Sequence[Job]], Iterable[Job]]) -> tuple[Job, ...]:
        """Take what `choose` picks of the jobs that wait, those in time first and the most urgent of them first.

        It is shown `LOOKED_AT` of either kind at most, and called under the lock.
        """
        with self._lock:
            shown = [job for job in self._waiting.first(LOOKED_AT) if not job.app.gone]
            chosen = tuple(choose(shown))
            for job in chosen:
                self._waiting.remove(job)
            return chosen

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Jobs that were taken wait again."""
        with self._lock:
            now_s = self._clock.now_s()
            for job in jobs:
                self._waiting.add(job, now_s)

    def done(self, job: Job) -> None:
        """A job that was taken has been answered, or has failed."""
        with self._lock:
            self._close(job)

    def forget(self, app: LiveApp) -> None:
        """Throw away what waits of an app that is gone: nobody is left to be answered."""
        with self._lock:
            for job in self._waiting.of(app):
                self._waiting.remove(job)
                self._close(job)

    def _make_room(self, job: Job) -> Job:
        """Take the least important job out that waits."""
        least = self._waiting.least(below=job.app.spec.priority)
        if least is None:
            raise Overloaded(
                f"{self._open} requests are open in all, the limit is {self._length}; send slower or raise "
                f"limits.queue_length"
            )
        self._waiting.remove(least)
        self._close(least)
        return least

    def _close(self, job: Job) -> None:
        self._open -= 1
        job.app.queued -= 1
        if job.route is not None:
            job.route.pins.release()
            job.route = None

    @property
    def open(self) -> int:
        """Requests waiting or running."""
        return self._open

    @property
    def waiting(self) -> int:
        """Requests waiting."""
        return self._waiting.count
