"""The jobs that wait, in the order in which they are to run. Plain data without a lock: the queue has one.

1. An app of which a request has waited for `STARVED_S` without a block gets the next block, for its oldest request, and
   then none by this rule for as long again. Of several such apps the one goes first that has waited longest. So no app
   waits for longer than that and one block of each other app (or what was merged to one), and all of them together cost
   the others no more than one such block each a second, however many requests they have: were it each request that is
   due, a stream of late ones would be a queue by age, and nothing would be in time.
2. Of the jobs that can still be in time, the one with the earliest deadline.
3. Of those that cannot, the one with the highest priority, then the earliest deadline.

A job is found to be late when it comes to the top of the second kind, so a decision takes O(log n) whatever n is.
What would be refused when it starts stays there: its client is told at once, and that takes no time of a block.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.job import Job
from schedulerd.serving.urgency import STARVED_S, is_late, is_refused, late_rank

_Entry = list[Any]
"""Rank (two numbers), a number that no other entry has, and the job: None where it does not wait any more.

The way to take an entry out of a heap's middle that the documentation of `heapq` shows.
"""
_JOB = -1
_FEW = 64
"""Entries without a job that a heap may hold besides half of it."""


class Waiting:
    """Jobs that wait, each once."""

    def __init__(self) -> None:
        self._lone: Job | None = None
        """A job that waits alone, which is the usual case, and has no place in the order yet."""
        self._in_time: list[_Entry] = []
        self._late: list[_Entry] = []
        self._emptied = 0
        """Entries without a job in both heaps."""
        self._shares: dict[LiveApp, dict[Job, _Entry]] = {}
        """What waits of each app, in the order in which it began to wait; no app has nothing."""
        self._favoured_s: dict[LiveApp, float] = {}
        """When an app last went first because it had waited for so long, as long as something of it waits."""
        self._calm_until_s = math.inf
        """No request has waited too long before this time."""
        self._number = itertools.count()
        self.count = 0
        """How many wait. An attribute, because it is read at every block boundary."""

    def add(self, job: Job, now_s: float) -> None:
        """A job begins to wait."""
        job.waits_since_s = now_s
        self.count += 1
        if self.count == 1:
            self._lone = job
            return
        self._enter_lone()
        self._enter(job)

    def remove(self, job: Job) -> None:
        """A job that waits does so no more."""
        self._enter_lone()
        self._leave(job)[_JOB] = None
        self._emptied += 1
        if self._emptied > _FEW + self.count:
            self._tidy()

    def take(self, now_s: float) -> Job | None:
        """The job that is to run next; it does not wait any more. None where none waits."""
        job = self._lone
        if job is not None:
            self._lone = None
            self.count = 0
            return job
        job = self._starving(now_s) or self._top(now_s)
        if job is not None:
            self._take(job)
        return job

    def overtaking(self, running: Job, now_s: float) -> Job | None:
        """The job that is to go before `running` from its present block boundary on, taken as in `take`; else None."""
        self._enter_lone()
        job = self._starving(now_s)
        if job is None:
            job = self._top(now_s)
            if job is None or not self._goes_before(job, running, now_s):
                return None
        self._take(job)
        return job

    def of(self, app: LiveApp) -> tuple[Job, ...]:
        """What waits of one app."""
        self._enter_lone()
        return tuple(self._shares.get(app, ()))

    def first(self, most: int) -> list[Job]:
        """Of the jobs that wait, up to `most` of those in time and as many of the late ones, by rank.

        They are the first ones of the two heaps as they lie in memory: what is most urgent is among them, and finding
        out which ones come next would take as long as there are jobs.
        """
        self._enter_lone()
        entries = sorted(self._in_time[:most]) + sorted(self._late[:most])
        return [entry[_JOB] for entry in entries if entry[_JOB] is not None]

    def least(self, below: int) -> Job | None:
        """The job that goes first when one has to: not started, of the lowest priority, of these the latest deadline.

        None where no job of a priority below `below` waits that has not started. O(n): for an overload alone.
        """
        self._enter_lone()
        for priority in sorted({app.spec.priority for app in self._shares if app.spec.priority < below}):
            shares = (share for app, share in self._shares.items() if app.spec.priority == priority)
            unstarted = (job for share in shares for job in share if job.route is None)
            found = max(unstarted, key=lambda job: job.deadline_s, default=None)
            if found is not None:
                return found
        return None

    def _enter_lone(self) -> None:
        lone = self._lone
        if lone is not None:
            self._lone = None
            self._enter(lone)

    def _enter(self, job: Job) -> None:
        """Give a job its place in the order."""
        entry: _Entry = [job.deadline_s, -job.app.spec.priority, next(self._number), job]
        heapq.heappush(self._in_time, entry)
        share = self._shares.get(job.app)
        if share is None:
            self._shares[job.app] = {job: entry}
        else:
            share[job] = entry
        self._calm_until_s = min(self._calm_until_s, job.waits_since_s + STARVED_S)

    def _goes_before(self, job: Job, running: Job, now_s: float) -> bool:
        """Whether `job`, which is the first of those that wait, is more urgent than the one that runs."""
        if not self._in_time:
            return is_late(running, now_s) and late_rank(job) < late_rank(running)
        return job.deadline_s < running.deadline_s or is_late(running, now_s)

    def _top(self, now_s: float) -> Job | None:
        """The first of those in time; where there is none, of the late ones."""
        heap = self._in_time
        while heap:
            job: Job | None = heap[0][_JOB]
            if job is None:
                heapq.heappop(heap)
                self._emptied -= 1
            elif not is_late(job, now_s) or is_refused(job, now_s):
                return job
            else:
                entry = heapq.heappop(heap)
                entry[:2] = late_rank(job)
                heapq.heappush(self._late, entry)
        heap = self._late
        while heap and heap[0][_JOB] is None:
            heapq.heappop(heap)
            self._emptied -= 1
        return heap[0][_JOB] if heap else None

    def _take(self, job: Job) -> None:
        """Take out a job that most often is at the top of a heap."""
        for heap in (self._in_time, self._late):
            if heap and heap[0][_JOB] is job:
                heapq.heappop(heap)
                self._leave(job)
                return
        self.remove(job)

    def _leave(self, job: Job) -> _Entry:
        share = self._shares[job.app]
        entry = share.pop(job)
        if not share:
            del self._shares[job.app]
            self._favoured_s.pop(job.app, None)
        self.count -= 1
        return entry

    def _starving(self, now_s: float) -> Job | None:
        """The oldest request of the app that has waited longest, where that is too long; else None.

        O(apps) about once a second, and once for each app that is favoured: else a comparison.
        """
        if now_s < self._calm_until_s:
            return None
        due_s, app = min(((self._due_s(app), app) for app in self._shares), key=lambda due: due[0], default=(0.0, None))
        if app is None or now_s < due_s:
            self._calm_until_s = math.inf if app is None else due_s
            return None
        self._favoured_s[app] = now_s
        return min(self._shares[app], key=lambda job: job.arrived_s)

    def _due_s(self, app: LiveApp) -> float:
        """When an app has waited for too long."""
        longest = next(iter(self._shares[app]))
        return max(longest.waits_since_s, self._favoured_s.get(app, -math.inf)) + STARVED_S

    def _tidy(self) -> None:
        """Throw away entries without a job."""
        self._in_time = [entry for entry in self._in_time if entry[_JOB] is not None]
        self._late = [entry for entry in self._late if entry[_JOB] is not None]
        heapq.heapify(self._in_time)
        heapq.heapify(self._late)
        self._emptied = 0
