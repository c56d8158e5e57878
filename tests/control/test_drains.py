"""Apps that an operator holds: who is refused, when they leave the plan, and how they come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from schedulerd.config import LimitsConfig
from schedulerd.control.drains import MOST_WAITING
from schedulerd.errors import Drained, EngineFault, NotRegistered
from schedulerd.serving.admission import admit_frame
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Asked, Joined, Left
from schedulerd.serving.meter import Observation
from schedulerd.wire.messages import (
    Answer,
    Apps,
    Code,
    ControlRequest,
    Drain,
    Failure,
    Infer,
    Pin,
    Registered,
    Resume,
    SetBudget,
    Status,
    TensorHeader,
    WhatIf,
    Why,
)
from tests.control.stage import MB, ROWS, Stage

FRAME = Infer(1, (TensorHeader("uint8", (4,)),))


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.switcher.close()


def pose(stage: Stage, request: ControlRequest) -> list[Any]:
    """What is answered in the turn of the request."""
    before = len(stage.answers)
    stage.loop.turn([Asked(request, b"operator")])
    return stage.answers[before:]


def turned(stage: Stage) -> list[Any]:
    """What is answered in a turn in which nothing happens."""
    before = len(stage.answers)
    stage.clock.advance(0.2)
    stage.loop.turn([])
    return stage.answers[before:]


def drained(stage: Stage, name: str | None = "cam") -> dict[str, Any]:
    """Drain what has nothing in flight."""
    assert pose(stage, Drain(3, name)) == []
    (answer,) = turned(stage)
    assert isinstance(answer, Answer), answer
    return dict(answer.result)


def admits(app: LiveApp) -> bool:
    try:
        admit_frame(app, FRAME)
    except Drained:
        return False
    except Exception:  # the frame is none of the app's, but it is looked at
        return True
    return True


def changes(stage: Stage) -> list[tuple[str | None, str]]:
    return [(event.body["app"], event.body["change"]) for event in stage.events if event.kind == "drain"]


def test_a_drained_app_is_refused_leaves_the_plan_and_stays_registered(stage: Stage) -> None:
    app = stage.join()
    answer = drained(stage)
    assert (answer["drained"], answer["in_flight"]) == (["cam"], {})
    assert answer["sentence"].startswith("cam is drained")
    assert stage.loop.plan.apps == ()
    assert stage.registry.of(app.identity) is app
    with pytest.raises(Drained, match="try again after `schedctl resume cam`"):
        admit_frame(app, FRAME)
    assert changes(stage) == [("cam", "draining"), ("cam", "drained")]
    (row,) = stage.ask(Apps(4)).result["apps"]
    assert (row["drained"], row["route"]) == (True, [])
    assert stage.ask(Status(5)).result["drained"] == ["cam"]


def test_what_was_accepted_before_keeps_its_route_and_is_waited_for(stage: Stage) -> None:
    app = stage.join()
    app.queued = 2
    assert pose(stage, Drain(3, "cam")) == []
    assert not admits(app), "refused from the first moment on"
    route = app.route
    assert route is not None
    assert turned(stage) == []
    assert app.route is route
    assert stage.loop.plan.app("cam") is not None
    app.queued = 0
    (answer,) = turned(stage)
    assert answer.result["in_flight"] == {}
    assert app.route is None


def test_the_answer_comes_in_time_and_says_what_is_open(stage: Stage) -> None:
    app = stage.join()
    app.queued = 2
    pose(stage, Drain(3, "cam", timeout_s=1.0))
    stage.clock.advance(1.0)
    (answer,) = turned(stage)
    assert answer.result["in_flight"] == {"cam": 2}
    assert "requests are still in flight: 2 of cam" in answer.result["sentence"]
    app.queued = 0
    assert turned(stage) == [], "nobody waits any more"
    assert stage.loop.plan.apps == (), "and it has left the plan all the same"
    assert drained(stage)["in_flight"] == {}, "asked again it is so at once"


def test_the_others_get_its_share_of_the_memory() -> None:
    stage = Stage()
    stage.join("door")
    full = stage.loop.plan.memory_bytes
    stage.switcher.close()
    stage = Stage(limits=LimitsConfig(memory_bytes=full + MB))
    stage.join("door", 50.0)
    stage.join("cam", 7.0)
    assert len(stage.loop.plan.apps) == 2
    drained(stage)
    (door,) = stage.loop.plan.apps
    assert door.route.variants == ("original", "original")
    stage.switcher.close()


def test_a_resumed_app_is_accepted_when_its_route_runs(stage: Stage) -> None:
    app = stage.join()
    drained(stage)
    (answer,) = pose(stage, Resume(4, "cam"))
    assert answer.result["resumed"] == ["cam"]
    assert answer.result["sentence"].startswith("cam is resumed: cam starts")
    assert stage.loop.plan.app("cam") is not None
    assert app.route is not None
    assert admits(app)
    assert changes(stage)[-1] == ("cam", "resumed")
    assert stage.ask(Status(5)).result["drained"] == []


def test_a_drain_that_is_taken_back_says_so_to_who_waits(stage: Stage) -> None:
    app = stage.join()
    app.queued = 1
    route = app.route
    pose(stage, Drain(3, "cam"))
    assert [type(answer) for answer in pose(stage, Resume(4, "cam"))] == [Answer]
    assert admits(app)
    assert app.route is route
    (failure,) = turned(stage)
    assert (failure.id, failure.code) == (3, Code.BAD_VALUE)


def test_a_resumed_app_without_anything_to_run_is_refused_with_the_reason(stage: Stage) -> None:
    app = stage.join()
    drained(stage)
    stage.damaged |= set("AaBb")
    stage.switcher.let_go("AaBb")
    (answer,) = pose(stage, Resume(4, "cam"))
    assert isinstance(answer, Failure)
    assert answer.code is Code.STORE_FAULT
    assert not app.drained
    with pytest.raises(Exception, match="no usable variant"):
        admit_frame(app, FRAME)


def test_a_resume_that_is_put_off_leaves_the_app_drained_until_its_route_runs(stage: Stage) -> None:
    """Told that it is unknown it would register anew, again and again."""
    app = stage.join()
    drained(stage)
    stage.switcher.let_go("AB")
    stage.stuck = True
    (answer,) = pose(stage, Resume(4, "cam"))
    assert isinstance(answer, Failure)
    assert "it is tried again" in answer.message
    assert (app.route, admits(app)) == (None, False)
    stage.stuck = False
    stage.freed.set()
    for _ in range(3):
        stage.clock.advance(6.0)
        stage.loop.turn([])
    assert app.route is not None
    assert admits(app)


def test_a_name_is_held_over_a_new_connection(stage: Stage) -> None:
    app = stage.join()
    drained(stage)
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "connection lost")])
    assert stage.ask(Status(4)).result["drained"] == ["cam"]
    back = stage.live(identity="again")
    stage.loop.turn([Joined(back, 8)])
    _, failure = stage.replies[-1]
    assert (failure.id, failure.code) == (8, Code.DRAINED)
    assert stage.registry.find("cam") is None
    (answer,) = pose(stage, Resume(5, "cam"))
    assert "not connected" in answer.result["sentence"]
    assert stage.join(identity="third").route is not None


def test_an_app_that_leaves_while_it_is_drained_has_nothing_in_flight(stage: Stage) -> None:
    app = stage.join()
    app.queued = 3
    pose(stage, Drain(3, "cam"))
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "connection lost")])
    (answer,) = turned(stage)
    assert answer.result["in_flight"] == {}


def test_the_whole_daemon_is_drained_with_whoever_comes(stage: Stage) -> None:
    apps = [stage.join(name) for name in ("cam", "door")]
    answer = drained(stage, None)
    assert answer["drained"] == ["cam", "door"]
    assert stage.loop.plan.apps == ()
    assert stage.ask(Status(4)).result["drained_all"]
    late = stage.live("late")
    stage.loop.turn([Joined(late, 9)])
    assert stage.replies[-1][1].code is Code.DRAINED
    # One of them may go on.
    pose(stage, Resume(5, "door"))
    assert [admits(app) for app in apps] == [False, True]
    pose(stage, Resume(6))
    assert [admits(app) for app in apps] == [True, True]
    assert not stage.ask(Status(7)).result["drained_all"]
    stage.join("late", identity="late-2")
    assert isinstance(stage.replies[-1][1], Registered)
    assert (None, "draining") in changes(stage)
    assert (None, "resumed") in changes(stage)


def test_nobody_to_drain_or_to_resume_is_no_success(stage: Stage) -> None:
    stage.join("front-door")
    assert stage.ask(Drain(3, "cam")).code is Code.UNKNOWN_APP
    assert stage.ask(Resume(4, "front-door")).message == "'front-door' is not drained; drained are: none"
    drained(stage, "front-door")
    assert 'did you mean "front-door"?' in stage.ask(Resume(5, "front-dor")).message
    assert stage.ask(Drain(6, "front-door", 61.0)).message == "timeout_s is 61; it must be 0 to 60"
    assert isinstance(stage.ask(Resume(7)), Answer)
    assert stage.ask(Resume(8)).result["resumed"] == [], "as after a drain of everybody when nobody was there"


def test_edits_of_a_drained_app_are_taken_and_hold_when_it_is_resumed(stage: Stage) -> None:
    stage.join()
    drained(stage)
    answer = stage.ask(SetBudget(4, "cam", 8.0))
    assert (answer.result["budget_ms"], answer.result["miss_ms"]) == (8.0, None)
    assert stage.ask(Pin(5, "cam", {"second": "small"})).result["pins"] == {"second": "small"}
    assert "runs nothing at present" in stage.ask(Pin(6, "cam")).message
    pose(stage, Resume(7, "cam"))
    (cam,) = stage.loop.plan.apps
    assert cam.route.variants[1] == "small"
    assert cam.latency_p95_ms < 8.0


@pytest.mark.parametrize("question", [Why(4, "cam"), WhatIf(4, {"cam": 8.0})])
def test_questions_about_a_drained_app_say_that_it_is(stage: Stage, question: ControlRequest) -> None:
    stage.join()
    drained(stage)
    answer = stage.ask(question)
    assert isinstance(answer, Failure)
    assert answer.code is Code.DRAINED


def test_a_drained_app_is_no_company_and_comes_back_as_it_was(stage: Stage) -> None:
    stage.join("door")
    app = stage.join()
    stage.frames(app, 10.0)
    answered = app.meter.answered
    drained(stage)
    for _ in range(10):
        assert turned(stage) == []
    pose(stage, Resume(4))
    assert app.meter.answered == answered
    assert {a.app_id for a in stage.loop.plan.apps} == {"cam", "door"}


def test_plans_are_made_for_the_company_that_drained_apps_leave() -> None:
    """Each block of these takes twice as long after somebody else's, and then not all budgets can be met in full."""
    stage = Stage(rows=[replace(row, cold_ms=2 * row.latency_ms) for row in ROWS])
    stage.join("door", 25.0)
    (alone,) = stage.loop.plan.apps
    stage.join("cam", 25.0)
    together = stage.loop.plan.apps
    assert [app.miss_ms for app in together] == [0.0, 0.0]
    drained(stage)
    assert [app.latency_ms for app in stage.loop.plan.apps] == [alone.latency_ms]
    assert isinstance(stage.ask(Resume(4, "cam")), Answer)
    assert stage.loop.plan.apps == together
    stage.switcher.close()


def test_who_is_turned_away_as_everybody_is_drained_is_gone(stage: Stage) -> None:
    app = stage.live()
    stage.loop.turn([Joined(app, 8), Asked(Drain(3), b"operator")])
    assert stage.replies[-1][1].code is Code.DRAINED
    assert [answer.result["in_flight"] for answer in turned(stage)] == [{}]
    assert changes(stage) == [(None, "draining"), ("cam", "draining")]
    assert stage.registry.find("cam") is None


def test_what_a_drained_app_did_is_not_learnt_once_more(stage: Stage) -> None:
    """It holds for its return; and its last requests, some seconds old, do not count again."""
    app = stage.join()
    assert app.route is not None
    for _ in range(100):
        stage.clock.advance(0.1)
        now_s = stage.clock.now_s()
        app.meter.add(Observation(now_s, 20.0, 20.0, True, (5.0, 15.0), app.route.expected, app.route.plan))
        stage.loop.turn([])
    drift = stage.loop._drift
    learnt = drift.factors().blobs
    assert learnt
    drained(stage)
    board = drift.board
    for _ in range(20):
        assert turned(stage) == []
        assert drift.factors().blobs == learnt
    assert drift.board.median <= board.median
    assert stage.ask(Resume(9, "cam")).result["resumed"] == ["cam"]
    assert drift.factors().blobs == learnt


def test_who_waits_when_the_daemon_ends_is_given_back(stage: Stage) -> None:
    stage.join().queued = 1
    pose(stage, Drain(3, "cam"))
    (asked,) = stage.loop.unanswered()
    assert asked.request == Drain(3, "cam")
    assert stage.loop.unanswered() == []


def test_there_is_an_end_to_those_who_wait(stage: Stage) -> None:
    stage.join().queued = 1
    for number in range(MOST_WAITING):
        assert pose(stage, Drain(3 + number, "cam")) == []
    (failure,) = pose(stage, Drain(3, "cam"))
    assert failure.code is Code.OVERLOADED


def test_an_app_that_is_drained_is_not_told_to_register_anew() -> None:
    stage = Stage()
    app = stage.live()
    assert isinstance(app.without_route(), NotRegistered)
    app.stranded = lambda: EngineFault("all have failed")
    assert isinstance(app.without_route(), EngineFault)
    app.drained = True
    assert isinstance(app.without_route(), Drained)
    stage.switcher.close()
