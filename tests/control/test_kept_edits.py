"""Edits that hold over a restart: a second control loop on the state directory of the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schedulerd.control.aside import AtOnce
from schedulerd.control.keeper import WAITING, Keeper
from schedulerd.control.overrides import OverridesFile
from schedulerd.control.reloads import Reread
from schedulerd.optimizer.objectives import MAX_ACCURACY, MIN_LATENCY
from schedulerd.serving.events import Asked, Left
from schedulerd.wire.messages import (
    Answer,
    Apps,
    Code,
    DropOverrides,
    Failure,
    Objective,
    Reload,
    SetBudget,
    SetLimit,
    ShowOverrides,
    Status,
)
from tests.control.stage import MB, Stage
from tests.control.test_keeper import Waiting

Start = Callable[[], Stage]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a control loop on the test's state directory."""
    made: list[Stage] = []

    def start_one() -> Stage:
        made.append(Stage(keeper=Keeper(OverridesFile(tmp_path / "state"), AtOnce())))
        return made[-1]

    yield start_one
    for stage in made:
        stage.switcher.close()


def test_a_budget_holds_when_the_app_comes_to_the_next_daemon(start: Start) -> None:
    stage = start()
    stage.join()
    answer = stage.ask(SetBudget(3, "cam", 8.0))
    assert (answer.result["kept"], answer.result["kept_reason"]) == (True, None)
    again = start()
    app = again.join()
    assert (app.spec.budget_ms, app.wishes.budget_ms) == (8.0, 50.0)
    assert again.loop.plan.apps[0].latency_p95_ms < 10
    (row,) = again.ask(Apps(3)).result["apps"]
    assert (row["budget_ms"], row["registered_budget_ms"]) == (8.0, 50.0)
    (event,) = [event.body for event in again.events if event.kind == "budget"]
    assert event == {"app": "cam", "before_ms": 50.0, "budget_ms": 8.0}


def test_a_budget_that_is_missed_is_kept_too(start: Start) -> None:
    stage = start()
    stage.join()
    result = stage.ask(SetBudget(3, "cam", 1.0)).result
    assert result["nearest_budget_ms"] > 1.0
    assert result["kept"]
    assert start().join().spec.budget_ms == 1.0


def test_a_budget_holds_when_the_app_comes_back_to_the_same_daemon(start: Start) -> None:
    stage = start()
    app = stage.join()
    stage.ask(SetBudget(3, "cam", 8.0))
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "unregistered")])
    assert stage.join(identity="again").spec.budget_ms == 8.0
    assert stage.join("other").spec.budget_ms == 50.0


def test_a_limit_and_an_objective_hold_too(start: Start) -> None:
    stage = start()
    assert stage.ask(SetLimit(3, "memory", 5 * MB)).result["kept"]
    assert stage.ask(Objective(4, MIN_LATENCY)).result["kept"]
    again = start()
    assert again.ask(Status(3)).result["memory_limit_reason"] == "the operator's limit"
    assert again.ask(Objective(4)).result["objective"] == MIN_LATENCY
    assert "kept" not in again.ask(Objective(5)).result, "a question sets nothing"


def test_what_is_set_is_listed_with_what_apps_asked_for(start: Start) -> None:
    stage = start()
    stage.join()
    stage.ask(SetBudget(3, "cam", 8.0))
    stage.ask(SetLimit(4, "memory", 5 * MB))
    unset = {"priority": None, "pins": {}, "pinned_exits": None}
    row = {"app": "cam", "budget_ms": 8.0, "registered_budget_ms": 50.0, "registered_priority": 5, **unset}
    assert stage.ask(ShowOverrides(5)).result == {
        "objective": None,
        "memory_bytes": 5 * MB,
        "apps": [row],
        "kept": True,
        "kept_reason": None,
    }
    assert start().ask(ShowOverrides(3)).result["apps"] == [
        {**row, "registered_budget_ms": None, "registered_priority": None}
    ]


def test_dropping_an_app_gives_it_what_it_asked_for(start: Start) -> None:
    stage = start()
    app = stage.join()
    stage.ask(SetBudget(3, "cam", 8.0))
    stage.ask(SetLimit(4, "memory", 50 * MB))
    answer = stage.ask(DropOverrides(5, "cam"))
    assert isinstance(answer, Answer)
    assert "budget of cam 8 -> 50 ms" in answer.result["sentence"]
    assert app.spec.budget_ms == 50.0
    left = start().ask(ShowOverrides(3)).result
    assert (left["apps"], left["memory_bytes"]) == ([], 50 * MB), "the rest stands"


def test_dropping_all_leaves_nothing(start: Start) -> None:
    stage = start()
    app = stage.join()
    for edit in (SetBudget(3, "cam", 8.0), SetLimit(4, "memory", 5 * MB), Objective(5, MIN_LATENCY)):
        stage.ask(edit)
    sentence = stage.ask(DropOverrides(6)).result["sentence"]
    for said in ("budget of cam 8 -> 50 ms", "memory limit set to auto", "objective min-latency -> max-accuracy"):
        assert said in sentence
    assert app.spec.budget_ms == 50.0
    nothing = stage.ask(ShowOverrides(7)).result
    assert (nothing["objective"], nothing["memory_bytes"], nothing["apps"]) == (None, None, [])
    assert start().ask(Objective(3)).result["objective"] == MAX_ACCURACY
    assert isinstance(stage.ask(DropOverrides(8)), Answer), "nothing to drop is no mistake"


def test_dropping_for_an_app_that_is_gone_is_fine_and_a_wrong_name_is_refused_with_the_nearest(start: Start) -> None:
    stage = start()
    stage.join("front-door")
    stage.ask(SetBudget(3, "front-door", 8.0))
    again = start()
    answer = again.ask(DropOverrides(3, "front-dor"))
    assert isinstance(answer, Failure)
    assert answer.code is Code.BAD_VALUE
    assert 'did you mean "front-door"?' in answer.message
    assert isinstance(again.ask(DropOverrides(4, "front-door")), Answer)
    assert start().ask(ShowOverrides(5)).result["apps"] == []


def test_a_state_directory_that_cannot_be_written_is_said_in_the_answer(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    stage = start()
    app = stage.join()
    for result in (stage.ask(SetBudget(3, "cam", 8.0)).result, stage.ask(SetBudget(4, "cam", 1.0)).result):
        assert not result["kept"]
        assert str(tmp_path / "state") in result["kept_reason"]
    assert app.spec.budget_ms == 1.0
    assert not stage.ask(ShowOverrides(5)).result["kept"]


def test_an_edit_that_finds_no_room_to_be_written_is_written_at_a_later_turn(tmp_path: Path) -> None:
    aside, file = Waiting(room=0), OverridesFile(tmp_path)
    stage = Stage(keeper=Keeper(file, aside))
    assert stage.ask(Objective(3, MIN_LATENCY)).result["kept_reason"] == WAITING
    aside.room = 8
    stage.loop.turn([])
    aside.work()
    assert file.load().objective == MIN_LATENCY
    stage.switcher.close()


def test_an_edit_that_is_refused_is_not_kept(start: Start) -> None:
    stage = start()
    stage.join()
    stage.ask(SetBudget(3, "cam", 0.0))
    stage.ask(SetBudget(4, "nobody", 8.0))
    assert start().ask(ShowOverrides(3)).result["apps"] == []


def test_an_edit_without_a_plan_is_in_force_and_kept(start: Start) -> None:
    stage = start()
    stage.join()
    stage.solver.broken = True
    stage.ask(SetBudget(3, "cam", 8.0))
    assert start().join().spec.budget_ms == 8.0


def test_a_reload_says_what_stands_behind_an_operator(start: Start) -> None:
    stage = start()
    stage.ask(Objective(3, MIN_LATENCY))
    config = stage.config
    solver, limits = config.solver, config.limits
    new = type(config)(
        limits=type(limits)(memory_bytes=50 * MB),
        control=config.control,
        solver=type(solver)(objective="min-energy"),
    )
    stage.loop.turn([Reread(new, Asked(Reload(4), b"operator"))])
    assert stage.answers[-1].result["notes"] == [
        "the operator's objective min-latency stands; see `schedctl overrides`"
    ]
