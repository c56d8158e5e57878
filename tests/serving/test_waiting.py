"""The order of those that wait: in time by deadline, late by priority, and nobody for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.job import Job
from schedulerd.serving.urgency import STARVED_S, is_late, longest_s, soonest_s
from schedulerd.serving.waiting import Waiting
from tests.serving.parts import AddBlock, SureHead, exit_of, job_for, live_app, route_of, route_with

NOW_S = 1000.0


def app_of(name: str, budget_ms: float, priority: int = 5, late: str = "run", ms: float = 2.0) -> LiveApp:
    """Two blocks of 1 ms, of which the profile says that they take `ms` together."""
    return live_app(name, budget_ms, priority, late, replace(route_of(AddBlock(), AddBlock()), soonest_s=ms * 1e-3))


def waiting_of(*jobs: Job) -> Waiting:
    waiting = Waiting()
    for job in jobs:
        waiting.add(job, NOW_S)
    return waiting


def drained(waiting: Waiting, now_s: float = NOW_S) -> list[Job]:
    return [job for job in iter(lambda: waiting.take(now_s), None) if job is not None]


def test_what_cannot_be_in_time_goes_behind_what_can_and_there_by_priority() -> None:
    late_low = job_for(app_of("a", 1, priority=1), NOW_S)
    late_high = job_for(app_of("b", 1.9, priority=9), NOW_S)
    late_high_older = job_for(app_of("c", 1.5, priority=9), NOW_S)
    soon, later = job_for(app_of("d", 5), NOW_S), job_for(app_of("e", 50, priority=9), NOW_S)
    waiting = waiting_of(late_low, late_high, late_high_older, later, soon)
    assert drained(waiting) == [soon, later, late_high_older, late_high, late_low]
    assert waiting.count == 0


def test_a_job_becomes_late_while_it_waits() -> None:
    first, second = job_for(app_of("a", 5), NOW_S), job_for(app_of("b", 50), NOW_S)
    assert drained(waiting_of(first, second), NOW_S + 0.002) == [first, second]
    assert drained(waiting_of(first, second), NOW_S + 0.004) == [second, first]


def test_what_is_left_of_a_started_job_counts_up_to_the_next_exit() -> None:
    app = app_of("a", 10, ms=2)
    job = job_for(app, NOW_S)
    assert soonest_s(job) == pytest.approx(0.002)
    job.route, job.next_block = app.route, 1
    assert (soonest_s(job), longest_s(job)) == (pytest.approx(0.001), pytest.approx(0.001))
    app.slowdown = 3.0
    assert soonest_s(job) == pytest.approx(0.003)
    assert is_late(job, NOW_S + 0.008)
    assert not is_late(job, NOW_S + 0.006)
    exits = route_with(exit_of(1, SureHead()), blocks=[AddBlock()] * 4)
    passing = job_for(live_app(route=exits))
    passing.route = exits
    assert (soonest_s(passing), longest_s(passing)) == (pytest.approx(0.002), pytest.approx(0.004))


def test_an_app_without_a_route_is_not_waited_for() -> None:
    app = live_app()
    app.route = None
    assert (soonest_s(job_for(app)), longest_s(job_for(app))) == (0.0, 0.0)


def test_a_late_job_that_runs_makes_way_for_one_in_time_whatever_their_deadlines() -> None:
    running, urgent = job_for(app_of("a", 1), NOW_S), job_for(app_of("b", 50), NOW_S)
    waiting = waiting_of(urgent)
    assert waiting.overtaking(running, NOW_S) is urgent
    assert waiting.count == 0


def test_a_job_in_time_is_not_overtaken_by_a_late_one_though_its_deadline_is_earlier() -> None:
    running, late = job_for(app_of("a", 50), NOW_S), job_for(app_of("b", 1, priority=9), NOW_S)
    assert waiting_of(late).overtaking(running, NOW_S) is None


@pytest.mark.parametrize(("priority", "overtakes"), [(9, True), (5, False), (1, False)])
def test_of_two_late_jobs_the_higher_priority_runs(priority: int, overtakes: bool) -> None:
    running, late = job_for(app_of("a", 1), NOW_S), job_for(app_of("b", 1, priority), NOW_S)
    assert (waiting_of(late).overtaking(running, NOW_S) is late) == overtakes


def test_what_is_to_be_dropped_keeps_its_turn_until_it_has_started() -> None:
    dropped, in_time = job_for(app_of("a", 1, late="drop"), NOW_S), job_for(app_of("b", 50), NOW_S)
    assert drained(waiting_of(dropped, in_time)) == [dropped, in_time]
    dropped.route = dropped.app.route
    assert drained(waiting_of(dropped, in_time)) == [in_time, dropped]


def test_whoever_has_waited_for_too_long_is_next_and_then_not_before_as_long_again() -> None:
    """The oldest request of the app, though another one of it began to wait sooner."""
    starving, patient = app_of("a", 1, priority=1), app_of("b", 60_000)
    older, newer, urgent = job_for(starving, NOW_S - 9), job_for(starving, NOW_S - 8), job_for(patient, NOW_S)
    waiting = waiting_of(newer, older)
    now_s = NOW_S + STARVED_S
    waiting.add(urgent, now_s)
    running = job_for(app_of("c", 50), now_s)
    assert waiting.overtaking(running, now_s - 0.01) is None
    assert waiting.overtaking(running, now_s) is older
    waiting.add(older, now_s)
    assert waiting.overtaking(running, now_s) is None
    assert waiting.overtaking(running, now_s + STARVED_S) is older


def test_of_several_starving_apps_each_has_its_turn_the_longest_waiting_first() -> None:
    jobs = [job_for(app_of(name, 1), NOW_S) for name in "abc"]
    waiting = Waiting()
    for n, job in enumerate(jobs):
        waiting.add(job, NOW_S + 0.1 * n)
    running, now_s = job_for(app_of("d", 60_000), NOW_S), NOW_S + 2 * STARVED_S
    taken = []
    for _ in jobs:
        job = waiting.overtaking(running, now_s)
        assert job is not None
        taken.append(job)
        waiting.add(job, now_s)
    assert taken == jobs
    assert waiting.overtaking(running, now_s) is None


def test_a_job_that_is_taken_out_of_the_middle_is_not_met_again() -> None:
    jobs = [job_for(app_of("a", 50), NOW_S + n) for n in range(300)]
    waiting = waiting_of(*jobs)
    for job in jobs[1:299]:
        waiting.remove(job)
    assert waiting.count == 2
    assert len(waiting._in_time) <= 200, "entries of jobs that are gone are thrown away in the end"
    assert drained(waiting) == [jobs[0], jobs[299]]


def test_the_first_ones_are_shown_in_time_before_late() -> None:
    late, soon, later = (job_for(app_of("a", budget), NOW_S) for budget in (1, 5, 50))
    lone = job_for(app_of("b", 100), NOW_S)
    waiting = waiting_of(late, later, soon, lone)
    assert waiting.overtaking(job_for(app_of("c", 1, priority=9), NOW_S), NOW_S) is soon
    assert waiting.first(2) == [later, lone, late]
    waiting.remove(later)
    assert waiting.first(2) == [lone, late]
