"""The queue: earliest deadline first, bounded in all and per app, lower priority refused first, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.errors import Overloaded
from schedulerd.serving.job import Job
from schedulerd.serving.queue import DeadlineQueue
from tests.fakes import FakeClock
from tests.serving.parts import job_for, live_app


@given(st.lists(st.floats(min_value=0.1, max_value=1e4), max_size=20))
def test_jobs_come_out_by_deadline(budgets: list[float]) -> None:
    queue = DeadlineQueue(length=100, per_app=100, clock=FakeClock(0.0))
    for budget_ms in budgets:
        queue.put(job_for(live_app(budget_ms=budget_ms)))
    taken = [queue.take() for _ in budgets]
    assert [job.deadline_s for job in taken if job] == sorted(b * 1e-3 for b in budgets)
    assert queue.take() is None


def test_equal_deadlines_go_to_the_higher_priority_then_to_the_older() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    low, high = live_app("low", priority=1), live_app("high", priority=9)
    jobs = [job_for(low, message_id=1), job_for(high, message_id=2), job_for(high, message_id=3)]
    for job in jobs:
        queue.put(job)
    assert [queue.take() for _ in jobs] == [jobs[1], jobs[2], jobs[0]]


def test_a_full_queue_refuses_with_its_limit_and_keeps_what_it_has() -> None:
    queue = DeadlineQueue(length=2, per_app=2, clock=FakeClock(0.0))
    app = live_app()
    queue.put(job_for(app))
    queue.put(job_for(live_app("other")))
    with pytest.raises(Overloaded, match="limit is 2"):
        queue.put(job_for(app))
    assert queue.open == 2


def test_one_app_cannot_take_the_whole_queue() -> None:
    queue = DeadlineQueue(length=10, per_app=1, clock=FakeClock(0.0))
    greedy = live_app("greedy")
    queue.put(job_for(greedy))
    with pytest.raises(Overloaded, match="'greedy'"):
        queue.put(job_for(greedy))
    queue.put(job_for(live_app("modest")))


def test_a_running_job_counts_until_it_is_done() -> None:
    queue = DeadlineQueue(length=1, per_app=1, clock=FakeClock(0.0))
    app = live_app()
    queue.put(job_for(app))
    job = queue.take()
    assert job is not None
    with pytest.raises(Overloaded):
        queue.put(job_for(app))
    queue.done(job)
    queue.put(job_for(app))


def test_at_a_block_boundary_the_more_urgent_job_takes_over() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    slow = job_for(live_app("slow", budget_ms=100))
    queue.put(slow)
    assert queue.take() is slow
    urgent = job_for(live_app("urgent", budget_ms=5))
    queue.put(urgent)
    assert queue.exchange(slow) is urgent
    assert queue.take() is slow


def test_at_a_block_boundary_a_less_urgent_job_waits() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    urgent = job_for(live_app("urgent", budget_ms=5))
    queue.put(job_for(live_app("slow", budget_ms=100)))
    assert queue.exchange(urgent) is urgent


def test_jobs_of_an_app_that_is_gone_are_thrown_away_and_free_their_places() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    dead, alive = live_app("dead", budget_ms=1), live_app("alive", budget_ms=100)
    queue.put(job_for(dead))
    kept = job_for(alive)
    queue.put(kept)
    dead.gone = True
    assert queue.take() is kept
    assert (queue.open, dead.queued) == (1, 0)


def test_done_unpins_the_route() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    app = live_app()
    job = job_for(app)
    queue.put(job)
    assert queue.take() is job
    assert app.route is not None
    app.route.pins.take()
    job.route = app.route
    queue.done(job)
    assert app.route.pins.drained


def test_when_it_is_full_a_higher_priority_takes_the_place_of_the_least_important() -> None:
    """The lowest priority goes, of these the latest deadline; what has started stays."""
    queue = DeadlineQueue(length=4, per_app=4, clock=FakeClock(0.0))
    low, middle = live_app("low", budget_ms=9, priority=1), live_app("middle", priority=5)
    running, early, late, other = job_for(low, -1.0), job_for(low, 0.0), job_for(low, 1.0), job_for(middle, 5.0)
    for job in (running, early, late, other):
        assert queue.put(job) is None
    assert queue.take() is running
    running.route = low.route
    queue.put_back([running])
    urgent = job_for(live_app("high", priority=9))
    assert queue.put(urgent) is late
    assert (queue.open, low.queued) == (4, 2)
    assert queue.put(job_for(live_app("high2", priority=9))) is early
    assert queue.put(job_for(live_app("high3", priority=9))) is other
    with pytest.raises(Overloaded, match="limit is 4"):
        queue.put(job_for(live_app("high4", priority=9)))
    told = str(queue.displaced(late, by=urgent))
    assert "refused in favour of priority 9" in told
    assert "limits.queue_length" in told


def test_when_it_is_full_an_equal_priority_does_not_displace() -> None:
    queue = DeadlineQueue(length=1, per_app=1, clock=FakeClock(0.0))
    queue.put(job_for(live_app("first", priority=5)))
    with pytest.raises(Overloaded, match="limit is 1"):
        queue.put(job_for(live_app("second", priority=5)))


def test_an_app_at_its_own_bound_displaces_nobody() -> None:
    queue = DeadlineQueue(length=2, per_app=1, clock=FakeClock(0.0))
    high, low = live_app("high", priority=9), live_app("low", priority=1)
    queue.put(job_for(high))
    queue.put(job_for(low))
    with pytest.raises(Overloaded, match="'high'"):
        queue.put(job_for(high))
    assert low.queued == 1


def test_what_waits_of_an_app_that_is_gone_is_forgotten_at_once() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    dead, alive = live_app("dead"), live_app("alive")
    jobs = [job_for(dead), job_for(alive), job_for(dead)]
    for job in jobs:
        queue.put(job)
    dead.gone = True
    queue.forget(dead)
    assert (queue.open, queue.waiting, dead.queued) == (1, 1, 0)
    assert queue.take() is jobs[1]
    assert queue.take() is None


def test_claimed_jobs_are_taken_and_those_of_apps_that_are_gone_are_not_shown() -> None:
    queue = DeadlineQueue(10, 10, clock=FakeClock(0.0))
    dead, alive = live_app("dead"), live_app("alive")
    first, second = job_for(alive, 1.0), job_for(alive, 2.0)
    for job in (second, job_for(dead), first):
        queue.put(job)
    dead.gone = True
    shown: list[Job] = []

    def choose(jobs: Sequence[Job]) -> Sequence[Job]:
        shown.extend(jobs)
        return jobs[:1]

    assert queue.claim(choose) == (first,)
    assert shown == [first, second]
    assert queue.take() is second
