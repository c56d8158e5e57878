"""More is asked of one lane than it can do: who is served, who is late, who is told. On a scripted day."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from schedulerd.serving.job import Job
from schedulerd.serving.urgency import STARVED_S
from schedulerd.wire.messages import Code, Failure, Result
from tests.fakes import FakeClock
from tests.serving.parts import SureHead, exit_of, live_app, route_with
from tests.serving.script import Answer, Arrival, TimedBlock, every, served, timed_route


def of(answers: list[Answer], app: str) -> list[Answer]:
    return [answer for answer in answers if answer.app == app]


def in_time(answers: list[Answer]) -> list[bool]:
    return [isinstance(a.reply, Result) and a.reply.deadline_met for a in answers]


def test_a_stream_of_late_requests_makes_none_late_that_can_be_in_time() -> None:
    """Two seconds of 150% load. By deadline alone the late ones always go first, and every frame is late in the end."""
    clock = FakeClock()
    low = live_app("low", budget_ms=20, priority=1, route=timed_route(clock, 5, 5))
    high = live_app("high", budget_ms=40, priority=9, route=timed_route(clock, 5, 5))
    day = served(clock, [*every(0.01, low, clock, 200), *every(0.02, high, clock, 100)])
    assert in_time(of(day.answers, "high")) == [True] * 100
    late = [answer for answer in of(day.answers, "low") if not answer.reply.deadline_met]
    assert late, "the lane was not overloaded"


def test_late_policy_run_answers_every_request_that_was_let_in() -> None:
    clock = FakeClock()
    app = live_app("slow", budget_ms=15, late="run", route=timed_route(clock, 5, 5))
    day = served(clock, every(0.005, app, clock, 100))
    assert len(day.answers) + len(day.refused) == 100
    assert all(isinstance(answer.reply, Result) for answer in day.answers)
    assert not all(in_time(day.answers))


def test_late_policy_drop_refuses_what_would_be_late_and_the_rest_is_in_time() -> None:
    clock = FakeClock()
    app = live_app("fresh", budget_ms=15, late="drop", route=timed_route(clock, 5, 5))
    day = served(clock, every(0.005, app, clock, 100))
    assert len(day.answers) == 100
    answered = [answer for answer in day.answers if isinstance(answer.reply, Result)]
    dropped = [answer.reply.code for answer in day.answers if isinstance(answer.reply, Failure)]
    assert in_time(answered) == [True] * len(answered)
    assert set(dropped) == {Code.DEADLINE_PASSED}
    assert len(answered) >= 45, "the lane was not used"


def test_a_request_that_is_to_be_dropped_is_told_before_others_are_served() -> None:
    """It waits behind nobody: its client can do something else."""
    clock = FakeClock()
    busy = live_app("busy", budget_ms=30, priority=9, route=timed_route(clock, 10))
    fresh = live_app("fresh", budget_ms=12, late="drop", route=timed_route(clock, 10))
    start_s = clock.now_s()
    arrivals = [*every(0.01, busy, clock, 50), Arrival(start_s + 0.001, fresh, 1)]
    day = served(clock, arrivals)
    (told,) = of(day.answers, "fresh")
    assert isinstance(told.reply, Failure)
    assert told.at_s <= start_s + 0.021


def test_nothing_is_kept_of_a_request_that_was_dropped() -> None:
    """Its frame is large, and under overload there are many: they must not wait for the garbage collector."""
    clock = FakeClock()
    app = live_app("fresh", budget_ms=1, late="drop", route=timed_route(clock, 5))
    gc.collect()
    gc.disable()
    try:
        served(clock, every(0.001, app, clock, 20))
        assert not [job for job in gc.get_objects() if type(job) is Job and job.app is app]
    finally:
        gc.enable()


def test_late_policy_exit_leaves_at_the_last_exit_in_time() -> None:
    clock = FakeClock()
    route = route_with(
        exit_of(0, SureHead(0.1), onward_ms=20.0),
        blocks=[TimedBlock(clock, 0.005), TimedBlock(clock, 0.010), TimedBlock(clock, 0.010)],
    )
    app = live_app("cam", budget_ms=30, late="exit", route=replace(route, soonest_s=0.005))
    day = served(clock, every(0.010, app, clock, 50))
    left = [(a.reply.exit, a.reply.left) for a in day.answers if isinstance(a.reply, Result)]
    assert len(left) == 50
    assert ("exit1", "deadline") in left
    assert set(left) <= {("exit1", "deadline"), ("final", "end")}
    assert in_time(day.answers).count(True) >= 45


def test_of_those_that_are_late_the_higher_priority_goes_first() -> None:
    clock = FakeClock()
    apps = [live_app(f"p{p}", budget_ms=1, priority=p, route=timed_route(clock, 5)) for p in (1, 5, 9)]
    day = served(clock, [Arrival(clock.now_s(), app, 1) for app in apps])
    assert [answer.app for answer in day.answers] == ["p9", "p5", "p1"]


def test_no_app_starves_behind_others_that_are_in_time() -> None:
    """Three blocks, late from the start, behind five seconds of requests that are all more urgent."""
    clock = FakeClock()
    busy = live_app("busy", budget_ms=100, priority=9, route=timed_route(clock, 10))
    poor = [live_app(f"poor{n}", budget_ms=1, priority=1, route=timed_route(clock, 4, 4, 4)) for n in range(2)]
    start_s = clock.now_s()
    day = served(clock, [*every(0.01, busy, clock, 500), *(Arrival(start_s, app, 1) for app in poor)])
    for app in poor:
        (answer,) = of(day.answers, app.spec.app_id)
        blocks, others_block_s, own_block_s = 3, 0.010 + 0.004, 0.004
        assert answer.at_s - start_s <= blocks * (STARVED_S + others_block_s + own_block_s)
    assert day.answers[-1].at_s >= start_s + 5.0, "the others ended before"
    assert in_time(of(day.answers, "busy")) == [True] * 500


def test_an_app_that_asks_too_much_has_one_block_a_second_by_its_age() -> None:
    """However many of its requests have waited for too long: in-time requests of others stay in time."""
    clock = FakeClock()
    busy = live_app("busy", budget_ms=100, priority=9, route=timed_route(clock, 10))
    start_s = clock.now_s()
    greedy = live_app("greedy", budget_ms=1, priority=1, route=timed_route(clock, 8))
    day = served(clock, [*every(0.01, busy, clock, 500), *every(0.1, greedy, clock, 50)])
    within = [answer for answer in of(day.answers, "greedy") if answer.at_s < start_s + 4.9]
    assert 3 <= len(within) <= 5
    assert in_time(of(day.answers, "busy")) == [True] * 500


@pytest.mark.parametrize(("preempt", "order"), [(True, ["urgent", "long"]), (False, ["long", "urgent"])])
def test_a_started_route_is_overtaken_only_where_that_is_wanted(preempt: bool, order: list[str]) -> None:
    clock = FakeClock()
    long = live_app("long", budget_ms=1000, route=timed_route(clock, 10, 10, 10, 10))
    urgent = live_app("urgent", budget_ms=20, route=timed_route(clock, 2))
    arrivals = [Arrival(clock.now_s(), long, 1), Arrival(clock.now_s() + 0.005, urgent, 1)]
    day = served(clock, arrivals, preempt=preempt)
    assert [answer.app for answer in day.answers] == order
    assert in_time(of(day.answers, "urgent")) == [preempt]
