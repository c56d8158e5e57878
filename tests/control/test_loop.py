"""The control loop: one turn at a time, on a clock that the test moves, with the real optimizer and switcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schedulerd.control.correction import Correction
from schedulerd.control.loop import RETRY_S
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Joined, Left
from schedulerd.serving.meter import Observation
from schedulerd.wire.messages import (
    Answer,
    Code,
    ControlRequest,
    Failure,
    Ping,
    Registered,
    SetBudget,
    SetLimit,
    ShowPlan,
    Status,
)
from tests.control.stage import MB, Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.switcher.close()


def route(app: LiveApp) -> str:
    return "" if app.route is None else "".join(app.route.route.digests)


def test_an_app_that_joins_gets_its_route_and_then_its_answer(stage: Stage) -> None:
    app = stage.join()
    assert route(app) == "AB"
    identity, registered = stage.replies[-1]
    assert isinstance(registered, Registered)
    assert (identity, registered.id, registered.accuracy) == (b"cam", 7, pytest.approx(0.9))
    assert stage.kinds() == ["plan", "app"]


def test_a_smaller_budget_moves_the_route_and_the_answer_tells_the_cost(stage: Stage) -> None:
    app = stage.join()
    answer = stage.ask(SetBudget(3, "cam", 8.0))
    assert isinstance(answer, Answer)
    assert app.spec.budget_ms == 8.0
    assert route(app) in ("Ab", "aB")
    assert answer.result["accuracy"] == pytest.approx(0.88)
    assert answer.result["miss_ms"] == 0
    assert "50 -> 8 ms" in answer.result["sentence"]


def test_an_impossible_budget_runs_the_fastest_route_and_says_by_how_much_it_misses(stage: Stage) -> None:
    app = stage.join()
    answer = stage.ask(SetBudget(3, "cam", 1.0))
    assert route(app) == "ab"
    assert answer.result["miss_ms"] == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (SetBudget(3, "cam", 0.0), Code.BAD_VALUE),
        (SetBudget(3, "cam", -2.0), Code.BAD_VALUE),
        (SetBudget(3, "nobody", 5.0), Code.UNKNOWN_APP),
        (SetLimit(3, "patience", 5), Code.BAD_VALUE),
        (SetLimit(3, "memory", -5), Code.BAD_VALUE),
    ],
)
def test_a_bad_edit_is_refused_and_changes_nothing(stage: Stage, request_: ControlRequest, code: Code) -> None:
    stage.join()
    number = stage.loop.plan.number
    answer = stage.ask(request_)
    assert isinstance(answer, Failure)
    assert answer.code is code
    assert stage.loop.plan.number == number


def test_a_memory_limit_is_kept_and_lifted(stage: Stage) -> None:
    app = stage.join()
    stage.ask(SetLimit(3, "memory", 5 * MB))
    assert stage.loop.plan.memory_bytes <= 5 * MB
    assert stage.switcher.resident_bytes(lambda d: 4 * MB if d.isupper() else MB) <= 5 * MB
    stage.ask(SetLimit(4, "memory", None))
    assert route(app) == "AB"


def test_blocks_that_run_slower_than_their_profile_bring_a_new_plan(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert route(app) in ("Ab", "aB", "ab")
    assert stage.kinds()[-2:] == ["pressure", "plan"]
    assert "2.5 times" in stage.events[-1].body["cause"]


def test_a_drift_that_changes_no_route_makes_no_plan(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert stage.loop.plan.number == 1


def test_a_better_plan_that_was_put_off_comes_when_the_running_one_has_stood_long_enough(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert route(app) != "AB"
    # All at once the board is quiet; once that is believed nothing drifts any more, and nobody asks for anything.
    stage.frames(app, run_ms=1.0, count=40)
    stage.loop._correction = Correction(1.0, stage.clock.now_s())
    stage.loop.turn([])
    stage.clock.advance(1.1)
    stage.loop.turn([])
    assert route(app) != "AB"
    stage.clock.advance(2.1)
    stage.loop.turn([])
    assert route(app) == "AB"
    assert stage.ask(ShowPlan(9)).result["cause"] == "a change held back against flapping is due"


def test_a_burst_after_a_change_of_routes_is_seen_against_what_ran_before(stage: Stage) -> None:
    """The few requests since the change fell into the start of the program that asked for it."""
    app = stage.join(budget_ms=40.0)
    stage.frames(app, run_ms=5.0, count=60)
    stage.ask(SetBudget(3, "cam", 8.0))
    assert route(app) == "aB"
    numbered = stage.loop.plan.number
    stage.frames(app, run_ms=25.0, count=20)
    stage.loop.turn([])
    assert stage.loop.plan.number == numbered


def test_totals_do_not_fall_when_an_app_leaves(stage: Stage) -> None:
    app = stage.join()
    stage.frames(app, run_ms=5.0, count=3)
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "unregistered")])
    assert stage.ask(Status(1)).result["requests"] == 3


def test_when_the_load_has_gone_the_route_comes_back(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    for _ in range(60):
        stage.clock.advance(1.0)
        stage.loop.turn([])
    assert route(app) == "AB"


def test_one_slow_frame_brings_nothing(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=9.0, count=15)
    stage.frames(app, run_ms=200.0, count=1)
    stage.loop.turn([])
    assert stage.loop.plan.number == 1


def test_the_lower_priority_gives_way(stage: Stage) -> None:
    high = stage.join("high", budget_ms=30.0, priority=9)
    low = stage.join("low", budget_ms=30.0, priority=1)
    stage.ask(SetLimit(3, "memory", 5 * MB))
    assert route(low) == route(high), "equal blobs count once, so both run the same two"
    stage.ask(SetLimit(4, "memory", None))
    stage.ask(SetBudget(5, "low", 8.5))
    assert route(high) == "AB"
    assert route(low) != "AB"


def test_an_app_that_leaves_is_forgotten(stage: Stage) -> None:
    app = stage.join()
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "unregistered")])
    assert stage.loop.plan.apps == ()
    assert [e.body["change"] for e in stage.events if e.kind == "app"] == ["joined", "left"]


def test_an_app_that_comes_back_under_its_name_in_the_same_turn_gets_a_route(stage: Stage) -> None:
    first = stage.join()
    stage.registry.remove(first)
    again = stage.live(identity="another connection")
    stage.loop.turn([Left(first, "connection lost"), Joined(again, 8)])
    assert route(again) == route(first)
    assert isinstance(stage.replies[-1][1], Registered)
    assert [a.app_id for a in stage.loop.plan.apps] == ["cam"]


def test_a_slow_loader_puts_a_plan_off_and_whoever_asked_is_told(stage: Stage) -> None:
    app = stage.join(budget_ms=50.0)
    stage.stuck = True
    failure = stage.ask(SetBudget(3, "cam", 5.0))
    assert isinstance(failure, Failure)
    assert failure.code is Code.STORE_FAULT
    assert "tried again" in failure.message
    assert route(app) == "AB"
    stage.freed.set()
    stage.clock.advance(RETRY_S)
    stage.loop.turn([])
    assert route(app) == "ab"
    assert stage.ask(ShowPlan(9)).result["cause"] == "another try after a plan that failed"


def test_a_solver_with_a_fault_costs_nobody_a_route(stage: Stage) -> None:
    other = stage.join("other")
    stage.solver.broken = True
    app = stage.join("cam", budget_ms=8.0)
    assert isinstance(stage.replies[-1][1], Registered)
    assert stage.loop.plan.status == "greedy"
    assert route(app) == "ab"
    assert other.route is not None


def test_an_app_of_few_frames_is_seen_to_be_slow(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0, rate_hz=2.0)
    assert app.route is not None
    for _ in range(12):
        stage.clock.advance(0.5)
        app.meter.add(Observation(stage.clock.now_s(), 40.0, 40.0, app.route.expected_p95_ms, False))
        stage.loop.turn([])
    assert stage.loop.plan.number > 1
    assert route(app) != "AB"


def test_a_damaged_blob_is_left_out_and_the_app_runs_another_variant(stage: Stage) -> None:
    stage.damaged = {"A"}
    app = stage.join()
    assert route(app) == "aB"
    assert isinstance(stage.replies[-1][1], Registered)


def test_an_app_without_any_usable_block_is_refused_and_the_others_stay(stage: Stage) -> None:
    other = stage.join("other", budget_ms=4.0)
    assert route(other) == "ab"
    stage.damaged = {"A", "B"}
    stage.ask(SetBudget(3, "other", 50.0))
    assert route(other) == "ab"


def test_a_store_without_usable_blocks_is_a_store_fault(stage: Stage) -> None:
    stage.damaged = {"A", "a"}
    app = stage.join()
    failure = stage.replies[-1][1]
    assert isinstance(failure, Failure)
    assert failure.code is Code.STORE_FAULT
    assert app.gone


def test_misses_are_told_once(stage: Stage) -> None:
    app = stage.join()
    assert app.route is not None
    app.meter.add(Observation(stage.clock.now_s(), 90.0, 9.0, 10.0, False))
    stage.loop.turn([])
    stage.loop.turn([])
    assert [e.body for e in stage.events if e.kind == "miss"] == [{"app": "cam", "missed": 1, "missed_in_all": 1}]


def test_a_silent_client_is_asked_whether_it_is_there(stage: Stage) -> None:
    app = stage.join()
    stage.clock.advance(2.0)
    stage.loop.turn([])
    assert stage.replies[-1] == (b"cam", Ping(0))
    stage.frames(app, run_ms=5.0, count=1)
    asked = len(stage.replies)
    stage.clock.advance(0.5)
    stage.loop.turn([])
    assert len(stage.replies) == asked


def test_status_and_plan_are_answered_before_anybody_has_joined(stage: Stage) -> None:
    status, plan = stage.ask(Status(1)), stage.ask(ShowPlan(2))
    assert status.result["apps"] == 0
    assert plan.result["number"] == 0


def test_events_are_numbered_without_gaps(stage: Stage) -> None:
    stage.join()
    stage.ask(SetBudget(3, "cam", 8.0))
    assert [event.seq for event in stage.events] == list(range(1, len(stage.events) + 1))
