"""Whatever happens to the queue in whatever order: nothing is lost, nothing runs twice, the bounds are kept."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schedulerd.errors import Overloaded
from schedulerd.serving.job import Job
from schedulerd.serving.queue import DeadlineQueue
from tests.fakes import FakeClock
from tests.serving.parts import job_for, live_app

LENGTH, PER_APP = 6, 4
numbers = st.integers(0, 100)


class Sequences(RuleBasedStateMachine):
    """A queue beside two sets: what waits, and what runs on some lane."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue = DeadlineQueue(LENGTH, PER_APP, self.clock)
        late = ("run", "drop", "run", "drop")
        self.apps = [live_app(f"a{n}", 10.0 ** (2 * n), 1 + 2 * n, late[n]) for n in range(4)]
        self.waits: set[Job] = set()
        self.runs: list[Job] = []

    @rule(app=st.sampled_from(range(4)), age_s=st.floats(0, 2))
    def put(self, app: int, age_s: float) -> None:
        live, job = self.apps[app], job_for(self.apps[app], self.clock.now_s() - age_s)
        own_full, full = live.queued >= PER_APP, self.queue.open >= LENGTH
        lower = [j for j in self.waits if j.route is None and j.app.spec.priority < live.spec.priority]
        try:
            least = self.queue.put(job)
        except Overloaded:
            # Of an app that is gone some may have been thrown away already.
            assert own_full or (full and all(j.app.gone for j in lower))
            return
        self.waits.add(job)
        assert not own_full
        assert (least is not None) == full
        if least is not None:
            assert least in lower
            assert all(least.app.spec.priority <= j.app.spec.priority for j in lower if not j.app.gone)
            self.waits.remove(least)

    @rule()
    def take(self) -> None:
        job = self.queue.take()
        if job is None:
            assert not any(not waiting.app.gone for waiting in self.waits)
        else:
            self._now_runs(job)

    @precondition(lambda self: self.runs)
    @rule(which=numbers, begins=st.booleans())
    def exchange(self, which: int, begins: bool) -> None:
        job = self.runs[which % len(self.runs)]
        if begins and job.route is None:
            assert job.app.route is not None
            job.route = job.app.route
            job.route.pins.take()
        following = self.queue.exchange(job)
        if following is not job:
            self.runs.remove(job)
            self.waits.add(job)
            self._now_runs(following)

    @precondition(lambda self: self.runs)
    @rule(which=numbers)
    def done(self, which: int) -> None:
        self.queue.done(self.runs.pop(which % len(self.runs)))

    @precondition(lambda self: self.runs)
    @rule(which=numbers)
    def put_back(self, which: int) -> None:
        job = self.runs.pop(which % len(self.runs))
        self.queue.put_back([job])
        self.waits.add(job)

    @rule(every=st.integers(1, 3))
    def claim(self, every: int) -> None:
        for job in self.queue.claim(lambda jobs: jobs[::every]):
            self._now_runs(job)

    @rule(app=st.sampled_from(range(4)), at_once=st.booleans())
    def gone(self, app: int, at_once: bool) -> None:
        old = self.apps[app]
        old.gone = True
        if at_once:
            self.queue.forget(old)
        self.apps[app] = live_app(old.spec.app_id, old.spec.budget_ms, old.spec.priority, old.spec.late)

    @rule(seconds=st.sampled_from([0.001, 0.1, 0.6, 1.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def bounds_are_kept(self) -> None:
        alive = {job for job in self.waits if not job.app.gone}
        assert len(alive) <= self.queue.waiting <= len(self.waits)
        assert self.queue.waiting + len(self.runs) == self.queue.open <= LENGTH
        for app in self.apps:
            assert app.queued == sum(job.app is app for job in (*self.waits, *self.runs)) <= PER_APP

    def teardown(self) -> None:
        for job in self.runs:
            self.queue.done(job)
        self.runs.clear()
        while (job := self.queue.take()) is not None:
            self._now_runs(job)
            self.queue.done(job)
        assert all(waiting.app.gone for waiting in self.waits)
        assert self.queue.open == 0
        for app in self.apps:
            assert app.route is not None
            assert app.queued == 0
            assert app.route.pins.drained

    def _now_runs(self, job: Job) -> None:
        assert job in self.waits, "it does not wait, or it has been given out twice"
        assert not job.app.gone
        self.waits.remove(job)
        self.runs.append(job)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
