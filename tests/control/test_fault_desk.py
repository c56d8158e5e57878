"""Variants that fail as they run: the control loop plans without them, says so, and takes them back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from blockprofiles.record import Row
from blockstore.block import Artifact, Exit
from blockstore.exits import ANY_UPSTREAM, FINAL, Curve, CurvePoint, CurveSet, ExitPolicy, Forecast, OfferedPolicy
from schedulerd.control.bans import FIRST_S, FIRST_WITHOUT_NUMBERS_S
from schedulerd.control.decider import RETRY_S
from schedulerd.control.holdings import Form
from schedulerd.control.switcher import Session
from schedulerd.errors import EngineFault, Refused, StoreFault
from schedulerd.merging.verdict import Run
from schedulerd.optimizer.problem import Problem
from schedulerd.plan import Plan
from schedulerd.serving.admission import admit_frame
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Faulted
from schedulerd.wire.messages import Code, Failure, Infer, SetBudget, TensorHeader
from tests.control.stage import MB, MODEL, ROWS, Stage
from tests.control.tables import table_of
from tests.fakes import PATIENCE_S
from tests.serving.parts import FRAME, AddBlock

SPARING_S = 2.0
"""Between two faults of what is needed."""


class FaultStage(Stage):
    """A stage that takes in faults, and knows what was loaded."""

    def __init__(self, **more: Any) -> None:
        self.loads: list[str] = []
        super().__init__(**more)

    def _load(self, digest: str) -> Any:
        self.loads.append(digest)
        return super()._load(digest)

    def fault(self, *digests: str, app: str = "cam", no_numbers: bool = False) -> None:
        self.loop.turn([Faulted(app, digests, "out of memory", no_numbers)])

    def faults(self) -> list[Any]:
        return [event.body for event in self.events if event.kind == "fault"]


@pytest.fixture
def stage() -> Iterator[FaultStage]:
    made = FaultStage()
    yield made
    made.switcher.close()


def route(app: LiveApp) -> str:
    return "" if app.route is None else "".join(app.route.route.digests)


def sent(app: LiveApp) -> LiveApp | Refused:
    """What becomes of a frame that is sent now, as far as the front knows."""
    try:
        return admit_frame(app, Infer(1, (TensorHeader(FRAME.dtype, FRAME.shape),)))
    except Refused as refusal:
        return refusal


def test_a_variant_that_fails_is_replaced_at_once_and_told(stage: FaultStage) -> None:
    app = stage.join(budget_ms=8.0)
    assert route(app) in ("Ab", "aB")
    small = "b" if route(app) == "Ab" else "a"
    where = "block 1 (second)" if small == "b" else "block 0 (first)"
    stage.fault(small)
    assert small not in route(app)
    assert len(route(app)) == 2
    assert stage.faults() == [
        {
            "what": "variant",
            "cause": f"{where} of m, variant small, for cam",
            "reason": "out of memory",
            "retry_s": FIRST_S,
        }
    ]
    assert "failed" in [e for e in stage.events if e.kind == "plan"][-1].body["cause"]


def test_it_is_tried_again_when_its_time_is_over(stage: FaultStage) -> None:
    app = stage.join(budget_ms=4.0)
    assert route(app) == "ab"
    stage.fault("a")
    assert route(app) == "Ab"
    stage.clock.advance(FIRST_S - 0.1)
    stage.loop.turn([])
    assert route(app) == "Ab"
    stage.clock.advance(0.2)
    stage.loop.turn([])
    assert route(app) == "ab"
    assert "is tried again" in [e for e in stage.events if e.kind == "plan"][-1].body["cause"]


def test_what_gave_no_numbers_stays_away_for_longer(stage: FaultStage) -> None:
    stage.join(budget_ms=4.0)
    stage.fault("a", no_numbers=True)
    assert stage.faults()[0]["retry_s"] == FIRST_WITHOUT_NUMBERS_S


def test_what_failed_is_let_go_and_loaded_again(stage: FaultStage) -> None:
    """What is in memory may be what is damaged."""
    stage.join(budget_ms=4.0)
    assert sorted(stage.loads) == ["a", "b"]
    stage.fault("a")
    assert stage.switcher.resident() == {"A", "b"}
    stage.clock.advance(FIRST_S + 1)
    stage.loop.turn([])
    assert sorted(stage.loads) == ["A", "a", "a", "b"]


def test_requests_under_way_on_what_failed_end_as_they_would(stage: FaultStage) -> None:
    """Their faults are held against nobody, and what they run on stays in memory."""
    app = stage.join(budget_ms=4.0)
    old = app.route
    assert old is not None
    old.pins.take()
    stage.fault("a")
    stage.fault("a")
    assert len(stage.faults()) == 1
    assert stage.switcher.states() == {"live": 2, "draining": 1}
    old.pins.release()
    stage.loop.turn([])
    assert stage.switcher.resident() == {"A", "b"}


def test_every_app_that_runs_what_failed_moves_to_another(stage: FaultStage) -> None:
    cam, door = stage.join("cam", budget_ms=4.0), stage.join("door", budget_ms=4.0)
    assert "a" in route(cam) + route(door)
    stage.fault("a")
    assert "a" not in route(cam) + route(door)


def test_an_original_is_left_out_only_when_it_goes_on_failing(stage: FaultStage) -> None:
    app = stage.join()
    for _ in range(2):
        stage.fault("A", no_numbers=True)
        assert route(app) == "AB"
        stage.clock.advance(SPARING_S)
    assert [told["retry_s"] for told in stage.faults()] == [None, None]
    stage.fault("A", no_numbers=True)
    assert route(app) == "aB"
    assert stage.faults()[-1]["retry_s"] == FIRST_S


def test_the_last_that_is_left_of_a_block_is_spared_as_an_original_is(stage: FaultStage) -> None:
    stage.damaged = {"A"}
    app = stage.join()
    assert route(app) == "aB"
    stage.fault("a")
    assert route(app) == "aB"


def exhausted(stage: FaultStage) -> LiveApp:
    """An app of whose first block everything has failed."""
    app = stage.join()
    stage.fault("a")
    for _ in range(3):
        stage.clock.advance(SPARING_S)
        stage.fault("A")
    return app


def test_requests_of_an_app_without_anything_to_run_are_told_why_and_it_stays(stage: FaultStage) -> None:
    app = exhausted(stage)
    assert stage.loop.plan.app("cam") is None
    refusal = sent(app)
    assert isinstance(refusal, EngineFault)
    assert "every variant of block 0 (first) of 'm' has failed as it ran" in str(refusal)
    assert stage.registry.named("cam") is app
    assert not app.gone


def test_it_runs_again_as_soon_as_anything_may(stage: FaultStage) -> None:
    """The variant, which failed first, is back before the original."""
    app = exhausted(stage)
    stage.clock.advance(FIRST_S - 3 * SPARING_S)
    stage.loop.turn([])
    assert route(app) == "aB"
    assert sent(app) is app


def test_an_app_that_has_nothing_does_not_wait_until_the_plan_without_it_has_stood_for_a_while(
    stage: FaultStage,
) -> None:
    app = stage.join()
    other = stage.join("other", budget_ms=50.0)
    stage.fault("a")
    stage.clock.advance(FIRST_S - 2 * SPARING_S - 0.5)
    for _ in range(3):
        stage.fault("A")
        stage.clock.advance(SPARING_S)
    assert (route(app), route(other)) == ("", "")
    stage.clock.advance(0.6 - SPARING_S)
    stage.loop.turn([])
    assert (route(app), route(other)) == ("aB", "aB")


def test_an_app_that_joins_meanwhile_is_told_as_well(stage: FaultStage) -> None:
    exhausted(stage)
    stage.join("door")
    failure = stage.replies[-1][1]
    assert isinstance(failure, Failure)
    assert failure.code is Code.ENGINE_FAULT


def test_listeners_are_told_once_that_nothing_is_left(stage: FaultStage) -> None:
    exhausted(stage)
    stage.loop.turn([])
    (told,) = [body for body in stage.faults() if body["what"] == "app"]
    assert told["cause"] == "nothing can be run for cam"
    assert "every variant of block 0" in told["reason"]


def test_an_app_keeps_its_route_while_no_plan_can_be_made_without_it() -> None:
    """What it runs works now and then; nothing at all would be worse."""
    faulty: list[bool] = []

    def record(problem: Problem, plan: Plan) -> None:
        if faulty:
            raise ZeroDivisionError

    stage = FaultStage(record=record)
    app = stage.join()
    stage.fault("a")
    faulty.append(True)
    for _ in range(3):
        stage.clock.advance(SPARING_S)
        stage.fault("A")
    assert route(app) == "AB"
    assert sent(app) is app
    faulty.clear()
    stage.clock.advance(RETRY_S)
    stage.loop.turn([])
    assert route(app) == "aB"
    stage.switcher.close()


def test_an_app_of_which_a_newer_profile_knows_nothing_that_works_gets_a_store_fault(stage: FaultStage) -> None:
    app = stage.join()
    stage.loop.use_table(table_of(*(row for row in ROWS if row.digest not in "Aa")))
    stage.ask(SetBudget(3, "cam", 9.0))
    refusal = sent(app)
    assert isinstance(refusal, StoreFault)
    assert "schedulerd store verify" in str(refusal)


def test_a_fault_of_what_is_not_in_the_store_any_more_or_of_an_app_that_left_harms_nobody(stage: FaultStage) -> None:
    app = stage.join()
    stage.fault("f" * 64, app="gone")
    assert route(app) == "AB"
    assert "blob ffffffffffff" in stage.faults()[0]["cause"]


def test_edits_are_answered_while_something_is_left_out(stage: FaultStage) -> None:
    stage.join(budget_ms=8.0)
    stage.fault("a")
    answer = stage.ask(SetBudget(3, "cam", 4.0))
    assert not isinstance(answer, Failure)


def merged(stage: FaultStage) -> Form:
    """A session in place of both blocks of `cam`."""
    form = Form("key", "onnxruntime", 1)
    until_s = time.monotonic() + PATIENCE_S
    while not stage.switcher.load_session(form, AddBlock, MB):
        assert time.monotonic() < until_s
    stage.switcher.merge("cam", [Session(Run(0, 2), form)])
    return form


def test_blocks_that_fail_merged_run_by_themselves_first(stage: FaultStage) -> None:
    """Which shows whose fault it is, if it is any block's."""
    app = stage.join()
    form = merged(stage)
    stage.fault("A", "B")
    assert app.route is not None
    assert len(app.route.blocks) == 2
    assert not stage.switcher.holds(form)
    (told,) = stage.faults()
    assert (told["cause"], told["retry_s"]) == ("merged blocks 0-1, for cam", None)
    stage.fault("A", "B")
    assert len(stage.faults()) == 1, "a request that was under way"


def test_a_merged_session_is_not_taken_away_for_another_one(stage: FaultStage) -> None:
    app = stage.join()
    merged(stage)
    stage.fault("a", "B")
    assert app.route is not None
    assert len(app.route.blocks) == 1


# Exits.

CURVE = Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.7, 1.0), CurvePoint(0.8, 0.6, 0.9, 0.9)))
EARLY = ExitPolicy("early", (("exit1", 0.8), (FINAL, 0.0)))
HEAD = Exit(
    "exit1", 0, (0,), "flexdnn", "max_probability", 1.0, (Artifact("onnxruntime", "H", 1),), 1, 1, CurveSet((CURVE,))
)
WITH_EXIT = replace(MODEL, exits=(HEAD,), policies=(OfferedPolicy(EARLY, Forecast((0.6, 0.4), 0.0)),))


@pytest.fixture
def with_exit() -> Iterator[FaultStage]:
    made = FaultStage(model=WITH_EXIT, rows=[*ROWS, Row("H", "onnxruntime", 1, 0.5, 0.5, MB)])
    yield made
    made.switcher.close()


def test_a_head_that_fails_takes_its_exit_out_of_the_routes(with_exit: FaultStage) -> None:
    app = with_exit.join()
    assert app.route is not None
    assert app.route.exits is not None
    with_exit.fault("H")
    assert app.route.exits is None
    assert with_exit.faults()[0]["cause"] == "exit exit1 of m, for cam"


def test_a_head_that_an_app_insists_on_is_spared(with_exit: FaultStage) -> None:
    app = with_exit.join(exits=EARLY)
    with_exit.fault("H")
    assert app.route is not None
    assert app.route.exits is not None
    assert with_exit.faults()[0]["retry_s"] is None
