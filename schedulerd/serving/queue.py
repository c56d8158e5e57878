"""The bounded queue: earliest deadline first, asked again at every block boundary.

EDF is optimal for one lane where preemption is free (Liu and Layland 1973, section 7); blocks are the grain of
preemption here. Equal deadlines go to the higher priority, then to the older request.
"""

from __future__ import annotations

import heapq
import itertools
import threading

from schedulerd.errors import Overloaded
from schedulerd.serving.job import Job

_Entry = tuple[float, int, int, Job]


class DeadlineQueue:
    """Jobs that wait, shared by all lanes. A refused job was never in it; a job that was is never lost."""

    def __init__(self, length: int, per_app: int) -> None:
        self._length = length
        self._per_app = per_app
        self._heap: list[_Entry] = []
        self._lock = threading.Lock()
        self._sequence = itertools.count()
        self._open = 0

    def put(self, job: Job) -> None:
        """Accept a new job; `Overloaded` with the bound when the queue or the app's share of it is full."""
        with self._lock:
            if self._open >= self._length:
                raise Overloaded(
                    f"{self._open} requests are open in all, the limit is {self._length}; send slower or raise "
                    f"limits.queue_length"
                )
            if job.app.queued >= self._per_app:
                raise Overloaded(
                    f"{job.app.queued} requests of {job.app.spec.app_id!r} are open, the limit for one app is "
                    f"{self._per_app}; wait for replies before sending more"
                )
            self._open += 1
            job.app.queued += 1
            self._push(job)

    def take(self) -> Job | None:
        """The job with the earliest deadline, or None. Jobs of apps that are gone are thrown away here."""
        with self._lock:
            while self._heap:
                job = heapq.heappop(self._heap)[-1]
                if not job.app.gone:
                    return job
                self._close(job)
            return None

    def exchange(self, job: Job) -> Job:
        """At a block boundary: the job to go on with, the given one unless another has an earlier deadline."""
        # An empty heap needs no lock: a job that arrives this instant is seen at the next boundary.
        if not self._heap:
            return job
        with self._lock:
            while self._heap and self._heap[0][0] < job.deadline_s:
                urgent = heapq.heappop(self._heap)[-1]
                if not urgent.app.gone:
                    self._push(job)
                    return urgent
                self._close(urgent)
            return job

    def done(self, job: Job) -> None:
        """A job that was taken has been answered, or has failed."""
        with self._lock:
            self._close(job)

    def _push(self, job: Job) -> None:
        heapq.heappush(self._heap, (job.deadline_s, -job.app.spec.priority, next(self._sequence), job))

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
        return len(self._heap)
