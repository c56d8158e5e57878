"""The control loop with a model that has exits: policies in plans, drift of the live rates, what operators are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blockprofiles.record import Row
from blockstore.block import Artifact, Exit
from blockstore.exits import (
    ANY_UPSTREAM,
    FINAL,
    Curve,
    CurvePoint,
    CurveSet,
    ExitPolicy,
    Forecast,
    OfferedPolicy,
)
from schedulerd.control.exit_rates import BIN_S
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Faulted
from schedulerd.serving.meter import Observation
from schedulerd.wire.messages import Answer, Apps, Models, Pin, Registered, SetBudget, ShowPlan, Unpin
from tests.control.stage import MB, MODEL, ROWS, Stage

CURVE = Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.7, 1.0), CurvePoint(0.8, 0.6, 0.9, 0.9)))
EARLY = ExitPolicy("early", (("exit1", 0.8), (FINAL, 0.0)))
CAPPED = ExitPolicy("cap", (("exit1", 0.0),))
HEAD = Exit(
    "exit1", 0, (0,), "flexdnn", "max_probability", 1.0, (Artifact("onnxruntime", "H", 1),), 1, 1, CurveSet((CURVE,))
)
WITH_EXITS = replace(
    MODEL,
    exits=(HEAD,),
    policies=(
        # As accurate as the whole network, so that nothing speaks against it.
        OfferedPolicy(EARLY, Forecast((0.6, 0.4), 0.0)),
        OfferedPolicy(CAPPED, Forecast((1.0,), 0.2)),
    ),
)
HEAD_MS = 0.5


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(WITH_EXITS, [*ROWS, Row("H", "onnxruntime", 1, HEAD_MS, HEAD_MS, MB, arena_bytes=MB // 2)])
    yield made
    made.switcher.close()


def frames(stage: Stage, app: LiveApp, count: int, confident: int) -> None:
    """`count` answered frames of which so many were confident at `exit1`, as quick as their profile."""
    assert app.route is not None
    for number in range(count):
        stage.clock.advance(0.01)
        left = number % count < confident
        app.meter.add(
            Observation(
                stage.clock.now_s(),
                5.0,
                5.0,
                True,
                plan=app.route.plan,
                exit="exit1" if left else FINAL,
                left="confident" if left else "end",
                evaluated=(("exit1", left),),
            )
        )


def test_a_policy_that_loses_nothing_is_taken_and_told(stage: Stage) -> None:
    app = stage.join()
    assert app.route is not None
    assert app.route.route.policy == EARLY
    assert app.route.route.heads == ("H",)
    _, registered = stage.replies[-1]
    assert isinstance(registered, Registered)
    assert registered.policy == {"exit1": 0.8, "final": 0.0}
    assert registered.exit_shares == {"exit1": 0.6, "final": pytest.approx(0.4)}
    assert registered.exits == ("exit1",)
    # Both blocks and the head in the worst case; the second block for four frames in ten.
    assert registered.latency_ms == pytest.approx(10.5)
    (planned,) = stage.loop.plan.apps
    assert planned.expected_ms == pytest.approx(5.0 + HEAD_MS + 0.4 * 5.0)
    assert planned.utilisation == pytest.approx(10.0 * planned.expected_ms / 1000)


def test_a_budget_that_only_the_first_block_meets_caps_the_depth_and_frees_the_rest(stage: Stage) -> None:
    app = stage.join()
    answer = stage.ask(SetBudget(3, "cam", 1.9))
    assert isinstance(answer, Answer)
    assert app.route is not None
    assert app.route.route.policy == CAPPED
    assert app.route.route.digests == ("a",)
    assert answer.result["miss_ms"] == 0
    assert stage.loop.plan.memory_bytes == 2 * MB + MB // 2


def test_frames_that_are_harder_than_forecast_bring_a_new_plan_with_what_was_seen(stage: Stage) -> None:
    # At 80% of a lane: 100 frames a second of 7.5 ms on average fit as forecast, of 9.5 ms they do not.
    app = stage.join(rate_hz=100.0)
    assert route(app) == "AB"
    frames(stage, app, 100, confident=20)
    stage.loop.turn([])
    assert "cam leaves differently at exit1 (20% of its frames, 60% expected)" in stage.events[-1].body["cause"]
    assert stage.loop.plan.app("cam") is not None
    assert route(app) != "AB"
    assert stage.loop.plan.utilisation <= 0.8 + 1e-6


def test_the_same_routes_are_predicted_anew_where_the_drift_changes_none(stage: Stage) -> None:
    app = stage.join()
    number = stage.loop.plan.number
    frames(stage, app, 100, confident=20)
    stage.loop.turn([])
    (planned,) = stage.loop.plan.apps
    assert planned.exit_shares == pytest.approx((0.2, 0.8))
    assert planned.expected_ms == pytest.approx(5.0 + HEAD_MS + 0.8 * 5.0)
    assert stage.loop.plan.number == number
    told = len(stage.events)
    frames(stage, app, 100, confident=20)
    stage.loop.turn([])
    assert len(stage.events) == told, "what is known by now is no news"


def test_operators_see_rates_beside_what_was_expected(stage: Stage) -> None:
    app = stage.join()
    stage.loop.turn([])
    frames(stage, app, 100, confident=50)
    stage.clock.advance(BIN_S)
    stage.loop.turn([])
    answer = stage.ask(Apps(3))
    (row,) = answer.result["apps"]
    assert row["policy"] == {"exit1": 0.8, "final": 0.0}
    assert row["exit_shares"]["exit1"] == pytest.approx(0.6)
    assert row["exit_rates"] == {"exit1": 0.5, "final": 0.5}
    assert row["exit_history"][-1]["frames"] == 100
    assert row["exit_history"][-1]["shares"] == {"exit1": 0.5, "final": 0.5}
    event = next(e for e in stage.events if e.kind == "exits")
    assert event.body["app"] == "cam"
    assert event.body["exit_rates"] == {"exit1": 0.5, "final": 0.5}
    assert event.body["exit_shares"] == row["exit_shares"]


def test_plan_and_models_show_policies(stage: Stage) -> None:
    stage.join()
    stage.ask(SetBudget(3, "cam", 1.9))
    (planned,) = stage.ask(ShowPlan(4)).result["apps"]
    assert planned["policy"] == {"exit1": 0.0}
    assert [b["block"] for b in planned["blocks"]] == ["first"]
    (model,) = stage.ask(Models(5)).result["models"]
    assert model["exits"] == ["exit1"]
    assert model["least_memory_bytes"] == 3 * MB + MB // 2, "two small blocks, the head, and its activations"
    assert model["policies"] == [
        {"name": "early", "exits": {"exit1": 0.8, "final": 0.0}, "accuracy_drop": 0.0},
        {"name": "cap", "exits": {"exit1": 0.0}, "accuracy_drop": 0.2},
    ]


def route(app: LiveApp) -> str:
    return "" if app.route is None else "".join(app.route.route.digests)


def held(stage: Stage) -> ExitPolicy:
    (planned,) = stage.loop.plan.apps
    return planned.route.policy


def test_a_pinned_route_holds_its_exit_policy_whatever_budgets_and_frames_say(stage: Stage) -> None:
    app = stage.join()
    answer = stage.ask(Pin(3, "cam"))
    assert answer.result["pins"] == {"first": "original", "second": "original"}
    assert answer.result["pinned_exits"] == {"exit1": 0.8, "final": 0.0}
    assert stage.ask(SetBudget(4, "cam", 6.0)).result["miss_ms"] > 0
    assert held(stage) == EARLY, "the cap would meet the budget"
    for _ in range(5):
        frames(stage, app, 100, confident=10)
        stage.loop.turn([])
    assert held(stage) == EARLY
    assert stage.ask(Unpin(5, "cam")).result["miss_ms"] == 0
    stage.ask(Pin(6, "cam", {"first": "original", "second": "original"}))
    assert held(stage) == CAPPED, "blocks alone leave the policy open"


def test_a_pinned_exit_whose_head_is_gone_keeps_nobody_from_running(stage: Stage) -> None:
    stage.join()
    stage.ask(Pin(3, "cam"))
    stage.loop.turn([Faulted("cam", ("H",), "boom", no_numbers=False)] * 3)
    assert held(stage).steps == (("final", 0.0),)
    (row,) = stage.ask(Apps(4)).result["apps"]
    assert row["unmet_pins"] == ["the exit policy exit1>=0.8 final is not offered, final is used"]
    assert "the pinned exit policy of cam is not offered: its pin is ignored" in stage.loop.plan.note
