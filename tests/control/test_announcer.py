"""What is told to whom, and that nothing is told twice; how the loop uses it is in `test_loop`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schedulerd.control.announcer import PROBE_S, Announcer, Outlets
from schedulerd.control.plan_report import Decision
from schedulerd.plan import EMPTY_PLAN
from schedulerd.serving.meter import Observation
from schedulerd.wire.codec import decode_reply
from schedulerd.wire.envelope import decode_event
from schedulerd.wire.messages import Ping
from tests.fakes import FakeClock
from tests.serving.parts import live_app


class Told:
    """An announcer, and what has come of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[Any] = []
        self.replies: list[tuple[bytes, Any]] = []
        outlets = Outlets(
            answer=lambda identity, frames: None,
            reply=lambda identity, frames: self.replies.append((identity, decode_reply(frames)[0])),
            publish=lambda frames: self.events.append(decode_event(frames)),
            wake=lambda: None,
        )
        self.announcer = Announcer(outlets, self.clock)


def missed(at_s: float) -> Observation:
    return Observation(at_s, 90.0, 80.0, deadline_met=False)


def test_missed_deadlines_are_told_once_with_how_many_there_are() -> None:
    told, app = Told(), live_app("cam")
    for count in (2, 0, 1):
        for _ in range(count):
            app.meter.add(missed(1.0))
        told.announcer.misses([app])
    assert [event.body for event in told.events] == [
        {"app": "cam", "missed": 2, "missed_in_all": 2},
        {"app": "cam", "missed": 1, "missed_in_all": 3},
    ]
    assert [event.seq for event in told.events] == [1, 2]


def test_an_app_that_comes_back_under_its_name_begins_at_none_missed() -> None:
    told, before, after = Told(), live_app("cam"), live_app("cam")
    before.meter.add(missed(1.0))
    told.announcer.misses([before])
    told.announcer.left(before, "unregistered")
    after.meter.add(missed(2.0))
    told.announcer.misses([after])
    assert [event.kind for event in told.events] == ["miss", "app", "miss"]
    assert told.events[-1].body["missed"] == 1


def test_a_remark_on_decisions_that_change_no_route_is_told_once() -> None:
    told = Told()
    for note in ("", "CBC crashed", "CBC crashed", "", "CBC crashed"):
        told.announcer.note("more memory", note)
    body = {"what": "note", "cause": "more memory", "reason": "CBC crashed", "retry_s": None}
    assert [(event.kind, event.body) for event in told.events] == [("fault", body)] * 2


def test_a_remark_that_a_plan_event_tells_is_not_told_again() -> None:
    told = Told()
    plan = replace(EMPTY_PLAN, note="CBC crashed")
    told.announcer.plan(plan, Decision("cam joins", "cam runs", 1.0, 0.0), {"note": plan.note}, ())
    told.announcer.note("more memory", "CBC crashed")
    assert [(event.kind, event.body["note"]) for event in told.events] == [("plan", "CBC crashed")]


def test_an_app_is_asked_whether_it_is_there_when_it_sends_nothing() -> None:
    told, silent, busy = Told(), live_app("silent"), live_app("busy")
    told.announcer.probe([silent, busy])
    told.clock.advance(PROBE_S)
    busy.meter.add(missed(told.clock.now_s()))
    told.announcer.probe([silent, busy])
    told.announcer.probe([silent, busy])
    assert told.replies == [(silent.identity, Ping(0))]
