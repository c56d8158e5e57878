"""The control loop: one turn at a time, on a clock that the test moves, with the real optimizer and switcher."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from schedulerd.control.decider import RETRY_S
from schedulerd.optimizer.problem import Problem
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Joined, Left
from schedulerd.serving.route import ExpectedBlock
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
from tests.control.stage import MB, MODEL, ROWS, Stage
from tests.control.tables import table_of


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
    assert f"-> {answer.result['latency_p95_ms']:.1f} ms" in answer.result["sentence"]


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


WIDE = [replace(row, arena_bytes=2 * MB) for row in ROWS]
"""Blocks with activations."""


def test_blobs_that_are_kept_warm_leave_room_for_activations() -> None:
    """Under 9 MB `Ab` takes 5 MB and 2 MB of activations; `B`, of 4 MB, has to go."""
    stage = Stage(rows=WIDE)
    stage.join()
    assert stage.loop.plan.memory_bytes == 10 * MB
    stage.ask(SetLimit(3, "memory", 9 * MB))
    assert stage.loop.plan.memory_bytes == 7 * MB
    assert stage.ask(Status(1)).result["resident_bytes"] == 5 * MB
    stage.switcher.close()


class FullBoard:
    """A board with this much memory free, whatever is loaded."""

    name = "memory"
    every_s = 0.0

    def read(self) -> dict[str, int]:
        return {"memory_available_bytes": 100 * MB}


def test_activations_are_not_free_and_yet_ours() -> None:
    """Of 100 MB that are free the reserve is 64 MB. 8 MB of blobs and 2 MB of activations come on top."""
    stage = Stage(rows=WIDE, sources=[FullBoard()])
    assert stage.ask(Status(1)).result["memory_limit_bytes"] == 36 * MB
    stage.join()
    assert stage.ask(Status(2)).result["memory_limit_bytes"] == 46 * MB
    stage.switcher.close()


def test_blocks_that_run_slower_than_their_profile_bring_a_new_plan(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert route(app) in ("Ab", "aB", "ab")
    told = [event for event in stage.events if event.kind in ("pressure", "plan")]
    assert [event.kind for event in told] == ["plan", "pressure", "plan"]
    assert "2.5 times" in told[-1].body["cause"]
    assert "(25.3 -> 15.3 ms" in told[-1].body["sentence"], "both on the board that is planned for"


def test_a_drift_that_changes_no_route_makes_no_plan_and_is_in_what_is_predicted(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert stage.loop.plan.number == 1
    assert stage.loop.plan.apps[0].latency_ms == 25.0


def test_a_drift_too_small_for_a_plan_is_in_what_is_predicted(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    stage.frames(app, run_ms=11.0)
    stage.loop.turn([])
    (planned,) = stage.ask(ShowPlan(3)).result["apps"]
    assert planned["latency_ms"] == pytest.approx(11.0)
    assert "pressure" not in stage.kinds()


def test_the_plan_is_shown_with_what_was_measured_since_it_is_in_place(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    stage.frames(app, run_ms=40.0)
    stage.clock.advance(60.0)
    stage.loop.turn([])
    (planned,) = stage.ask(ShowPlan(3)).result["apps"]
    assert planned["measured_p50_ms"] is planned["measured_p95_ms"] is planned["measured_mean_ms"] is None
    stage.frames(app, run_ms=10.0, count=19)
    stage.frames(app, run_ms=14.0, count=2)
    (planned,) = stage.ask(ShowPlan(4)).result["apps"]
    assert (planned["measured_p50_ms"], planned["measured_p95_ms"]) == (10.0, 14.0)
    assert planned["measured_mean_ms"] == pytest.approx(218 / 21)
    assert [(b["block"], b["ms"], b["measured_ms"]) for b in planned["blocks"]] == [
        ("first", 5.0, 5.0),
        ("second", 5.0, 5.0),
    ]
    assert {(b["source"], b["uncertainty"]) for b in planned["blocks"]} == {("measured", 0.0)}
    stage.ask(SetBudget(5, "cam", 8.0))
    (planned,) = stage.ask(ShowPlan(6)).result["apps"]
    assert planned["measured_p50_ms"] is None, "the route is another one"


def test_blocks_that_run_merged_are_shown_together(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    assert app.route is not None
    merged = ExpectedBlock(0, ("A", "B"), "onnxruntime", 10.0, 10.0, 10.0)
    app.route = replace(app.route, blocks=app.route.blocks[:1], expected=(merged,))
    stage.frames(app, run_ms=9.5)
    (planned,) = stage.ask(ShowPlan(3)).result["apps"]
    (block,) = planned["blocks"]
    assert (block["block"], block["variant"], block["ms"]) == ("first to second", "original+original", 9.5)
    assert block["measured_ms"] == 9.5


def test_status_says_how_the_board_runs_against_its_profile(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    for _ in range(8):
        stage.frames(app, run_ms=9.0, count=4)
        stage.frames(app, run_ms=15.0, count=1)
    status = stage.ask(Status(1)).result
    assert (status["slowdown"], status["slowdown_p95"]) == (0.9, 1.5)


# A profile that is not the last word.


def test_rows_that_were_measured_since_are_planned_with(stage: Stage) -> None:
    """The second block turns out to be slower than was predicted of it, and the budget no longer met."""
    app = stage.join(budget_ms=12.0)
    assert route(app) == "AB"
    slower = [replace(row, latency_ms=9.0, latency_p95_ms=9.0) if row.digest == "B" else row for row in ROWS]
    stage.loop.use_table(table_of(*slower))
    stage.loop.turn([])
    assert route(app) == "Ab"
    assert stage.ask(ShowPlan(3)).result["cause"] == "more of the store has been measured"


def test_a_route_that_stays_is_compared_with_the_new_rows(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    pinned = app.route
    stage.loop.use_table(table_of(*(replace(row, latency_ms=4.0) for row in ROWS)))
    stage.loop.turn([])
    assert app.route is not None
    assert [b.median_ms for b in app.route.expected] == [4.0, 4.0]
    assert app.route is not pinned
    assert (stage.loop.plan.number, app.route.plan) == (1, 1)
    assert stage.loop.plan.apps[0].latency_ms == 8.0


def test_a_blob_that_turned_out_to_be_unusable_makes_way(stage: Stage) -> None:
    app = stage.join(budget_ms=500.0)
    stage.loop.use_table(table_of(*(row for row in ROWS if row.digest != "A")))
    stage.loop.turn([])
    assert route(app) == "aB"
    stage.clock.advance(5.0)
    stage.loop.turn([])
    assert route(app) == "aB"


def test_a_better_plan_that_was_put_off_comes_when_the_running_one_has_stood_long_enough(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    assert route(app) != "AB"
    # All at once the board is quiet; once that is believed nothing drifts any more, and nobody asks for anything.
    stage.frames(app, run_ms=1.0, count=40)
    stage.loop.turn([])
    stage.clock.advance(1.1)
    stage.loop.turn([])
    assert route(app) != "AB"
    stage.clock.advance(2.1)
    stage.loop.turn([])
    assert route(app) == "AB"
    assert stage.ask(ShowPlan(9)).result["cause"] == "a change held back against flapping is due"


def test_an_edit_takes_no_better_board_on_trust_and_is_answered_with_what_was_decided_on(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    loaded = route(app)
    assert loaded != "AB"
    profiled_ms = sum(block.median_ms for block in app.route.expected)  # type: ignore[union-attr]  # it has one
    for _ in range(9):
        stage.frames(app, run_ms=profiled_ms, count=10)
        stage.loop.turn([])
    # For nearly a second the board has run as profiled: all at full size takes 25 ms on the board that was planned for.
    answer = stage.ask(SetBudget(3, "cam", 24.0))
    assert route(app) == loaded
    assert answer.result["latency_p95_ms"] == pytest.approx(15.3), "on the board that was planned for"
    assert stage.loop.plan.apps[0].latency_ms == pytest.approx(profiled_ms)


def test_a_gain_that_is_not_worth_a_change_is_weighed_once() -> None:
    cheap = tuple(
        replace(block, variants=tuple(replace(v, accuracy_drop=v.accuracy_drop / 20) for v in block.variants))
        for block in MODEL.blocks
    )
    stage = Stage(replace(MODEL, blocks=cheap))
    app = stage.join(budget_ms=20.0)
    stage.frames(app, run_ms=25.0)
    stage.loop.turn([])
    loaded = route(app)
    assert loaded != "AB"
    profiled_ms = sum(block.median_ms for block in app.route.expected)  # type: ignore[union-attr]  # it has one
    before = stage.loop.decisions
    for _ in range(300):
        stage.frames(app, run_ms=profiled_ms)
        stage.loop.turn([])
    assert route(app) == loaded
    assert 1 <= stage.loop.decisions - before <= 5, "in a minute, in which the board is believed to be better"
    stage.switcher.close()


def test_a_burst_after_a_change_of_routes_is_seen_against_what_ran_before(stage: Stage) -> None:
    """The few requests since the change fell into the start of the program that asked for it."""
    app = stage.join(budget_ms=40.0)
    stage.frames(app, run_ms=5.0, count=60)
    stage.ask(SetBudget(3, "cam", 8.0))
    assert route(app) in ("Ab", "aB")
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
    fault = stage.events[-1]
    assert (fault.kind, fault.body["what"], fault.body["reason"]) == ("fault", "plan", failure.message)
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
    assert stage.loop.plan.status != "optimal"
    assert route(app) == "ab"
    assert other.route is not None


def test_a_plan_made_without_the_solver_says_so_in_its_event_and_when_it_is_shown(stage: Stage) -> None:
    """The two apps cannot both have what is best, and it takes the integer program to tell which is to give way."""
    stage.solver.broken = True
    stage.join("cam", budget_ms=8.0)
    stage.join("door", budget_ms=9.0)
    told = [event for event in stage.events if event.kind == "plan"][-1]
    assert "ZeroDivisionError" in told.body["note"]
    assert told.body["note"] == stage.ask(ShowPlan(9)).result["note"] == stage.loop.plan.note
    assert "fault" not in stage.kinds(), "the plan's event has said it"


def test_a_solver_that_fails_is_told_though_no_route_changes(stage: Stage) -> None:
    stage.join("cam", budget_ms=8.0)
    stage.join("door", budget_ms=9.0)
    number = stage.loop.plan.number
    stage.solver.broken = True
    for _ in range(2):
        stage.loop.use_table(table_of(*ROWS))
        stage.loop.turn([])
    assert stage.loop.plan.number == number
    (fault,) = [event for event in stage.events if event.kind == "fault"]
    assert (fault.body["what"], fault.body["retry_s"]) == ("note", None)
    assert "ZeroDivisionError" in fault.body["reason"]


def test_a_problem_that_makes_no_sense_costs_nobody_a_route_and_is_told(stage: Stage) -> None:
    app = stage.join("cam", budget_ms=8.0)
    before = stage.loop.plan
    stage.loop.use_table(table_of(*(replace(row, latency_ms=1e300) for row in ROWS)))
    stage.loop.turn([])
    fault = stage.events[-1]
    assert (fault.kind, fault.body["what"], fault.body["retry_s"]) == ("fault", "plan", RETRY_S)
    assert fault.body["cause"] == "more of the store has been measured"
    assert "of block 0 of cam is 1e+300; it must be 0 to 3.6e+06: profile the store again" in fault.body["reason"]
    assert stage.loop.plan.number == before.number
    assert route(app) in ("Ab", "aB")
    refused = stage.ask(SetBudget(3, "cam", 5.0))
    assert isinstance(refused, Failure)
    assert refused.message == fault.body["reason"]


def test_a_fault_of_ours_is_told_and_planning_goes_on_when_it_is_gone() -> None:
    faulty = [True]

    def record(problem: Problem, plan: Plan) -> None:
        if faulty:
            raise ZeroDivisionError

    stage = Stage(record=record)
    stage.join()
    assert [event.kind for event in stage.events] == ["fault"]
    assert "no plan could be made: ZeroDivisionError; see the daemon's log" in stage.events[0].body["reason"]
    assert isinstance(stage.replies[-1][1], Failure)
    faulty.clear()
    assert route(stage.join("again")) == "AB"
    stage.switcher.close()


def test_an_app_of_few_frames_is_seen_to_be_slow(stage: Stage) -> None:
    app = stage.join(budget_ms=20.0, rate_hz=2.0)
    assert app.route is not None
    for _ in range(12):
        stage.clock.advance(0.5)
        stage.frame(app, run_ms=40.0)
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
    stage.frame(app, run_ms=90.0)
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
