"""The queue: earliest deadline first, bounded in all and per app, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.errors import Overloaded
from schedulerd.serving.queue import DeadlineQueue
from tests.serving.parts import job_for, live_app


@given(st.lists(st.floats(min_value=0.1, max_value=1e4), max_size=20))
def test_jobs_come_out_by_deadline(budgets: list[float]) -> None:
    queue = DeadlineQueue(length=100, per_app=100)
    for budget_ms in budgets:
        queue.put(job_for(live_app(budget_ms=budget_ms)))
    taken = [queue.take() for _ in budgets]
    assert [job.deadline_s for job in taken if job] == sorted(b * 1e-3 for b in budgets)
    assert queue.take() is None


def test_equal_deadlines_go_to_the_higher_priority_then_to_the_older() -> None:
    queue = DeadlineQueue(10, 10)
    low, high = live_app("low", priority=1), live_app("high", priority=9)
    jobs = [job_for(low, message_id=1), job_for(high, message_id=2), job_for(high, message_id=3)]
    for job in jobs:
        queue.put(job)
    assert [queue.take() for _ in jobs] == [jobs[1], jobs[2], jobs[0]]


def test_a_full_queue_refuses_with_its_limit_and_keeps_what_it_has() -> None:
    queue = DeadlineQueue(length=2, per_app=2)
    app = live_app()
    queue.put(job_for(app))
    queue.put(job_for(live_app("other")))
    with pytest.raises(Overloaded, match="limit is 2"):
        queue.put(job_for(app))
    assert queue.open == 2


def test_one_app_cannot_take_the_whole_queue() -> None:
    queue = DeadlineQueue(length=10, per_app=1)
    greedy = live_app("greedy")
    queue.put(job_for(greedy))
    with pytest.raises(Overloaded, match="'greedy'"):
        queue.put(job_for(greedy))
    queue.put(job_for(live_app("modest")))


def test_a_running_job_counts_until_it_is_done() -> None:
    queue = DeadlineQueue(length=1, per_app=1)
    app = live_app()
    queue.put(job_for(app))
    job = queue.take()
    assert job is not None
    with pytest.raises(Overloaded):
        queue.put(job_for(app))
    queue.done(job)
    queue.put(job_for(app))


def test_at_a_block_boundary_the_more_urgent_job_takes_over() -> None:
    queue = DeadlineQueue(10, 10)
    slow = job_for(live_app("slow", budget_ms=100))
    queue.put(slow)
    assert queue.take() is slow
    urgent = job_for(live_app("urgent", budget_ms=5))
    queue.put(urgent)
    assert queue.exchange(slow) is urgent
    assert queue.take() is slow


def test_at_a_block_boundary_a_less_urgent_job_waits() -> None:
    queue = DeadlineQueue(10, 10)
    urgent = job_for(live_app("urgent", budget_ms=5))
    queue.put(job_for(live_app("slow", budget_ms=100)))
    assert queue.exchange(urgent) is urgent


def test_jobs_of_an_app_that_is_gone_are_thrown_away_and_free_their_places() -> None:
    queue = DeadlineQueue(10, 10)
    dead, alive = live_app("dead", budget_ms=1), live_app("alive", budget_ms=100)
    queue.put(job_for(dead))
    kept = job_for(alive)
    queue.put(kept)
    dead.gone = True
    assert queue.take() is kept
    assert (queue.open, dead.queued) == (1, 0)


def test_done_unpins_the_route() -> None:
    queue = DeadlineQueue(10, 10)
    app = live_app()
    job = job_for(app)
    queue.put(job)
    assert queue.take() is job
    assert app.route is not None
    app.route.pins.take()
    job.route = app.route
    queue.done(job)
    assert app.route.pins.drained
