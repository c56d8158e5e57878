"""What an operator sets for one app: priorities and pins, on the real optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedulerd.control.aside import AtOnce
from schedulerd.control.keeper import Keeper
from schedulerd.control.overrides import OverridesFile
from schedulerd.serving.events import Faulted, Left
from schedulerd.wire.messages import (
    Answer,
    Apps,
    Code,
    ControlRequest,
    DropOverrides,
    Failure,
    Pin,
    SetPriority,
    ShowOverrides,
    ShowPlan,
    Unpin,
    Why,
)
from tests.control.stage import Stage

FULL, SMALL = ("original", "original"), ("small", "small")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Stage]]:
    """Starts a control loop on the test's state directory."""
    made: list[Stage] = []

    def start_one() -> Stage:
        made.append(Stage(keeper=Keeper(OverridesFile(tmp_path / "state"), AtOnce())))
        return made[-1]

    yield start_one
    for stage in made:
        stage.switcher.close()


@pytest.fixture
def stage(start: Callable[[], Stage]) -> Stage:
    made = start()
    made.join()
    return made


def runs(stage: Stage, name: str = "cam") -> tuple[str, ...]:
    planned = stage.loop.plan.app(name)
    assert planned is not None
    return planned.route.variants


def result(stage: Stage, request: ControlRequest) -> dict[str, Any]:
    answer = stage.ask(request)
    assert isinstance(answer, Answer), answer
    return dict(answer.result)


def refused(stage: Stage, request: ControlRequest) -> str:
    answer = stage.ask(request)
    assert isinstance(answer, Failure)
    assert answer.code in (Code.BAD_VALUE, Code.UNKNOWN_APP)
    return answer.message


def told(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [dict(event.body) for event in stage.events if event.kind == kind]


# Priorities.


def test_a_priority_is_answered_as_a_budget_is_and_told(stage: Stage) -> None:
    answer = result(stage, SetPriority(3, "cam", 9))
    assert (answer["app"], answer["priority"], answer["miss_ms"], answer["kept"]) == ("cam", 9, 0.0, True)
    assert answer["sentence"].startswith("priority of cam 5 -> 9: ")
    assert answer["plan"] == stage.loop.plan.number
    assert told(stage, "priority") == [{"app": "cam", "before": 5, "priority": 9}]
    (row,) = result(stage, Apps(4))["apps"]
    assert (row["priority"], row["registered_priority"]) == (9, 5)


def test_whoever_has_the_higher_priority_keeps_its_budget(start: Callable[[], Stage]) -> None:
    """Both want 11 ms for all that they run, and each may have to wait for the other."""
    stage = start()
    for name in ("cam", "door"):
        stage.join(name, 12.0, accuracy_floor=0.9)
    for name, other in (("cam", "door"), ("door", "cam")):
        result(stage, SetPriority(3, name, 10))
        result(stage, SetPriority(4, other, 1))
        misses = {app.app_id: app.miss_ms for app in stage.loop.plan.apps}
        assert misses[name] <= misses[other]


@pytest.mark.parametrize("priority", [0, 11, -1])
def test_a_priority_that_there_is_not_is_refused_and_changes_nothing(stage: Stage, priority: int) -> None:
    assert f"priority is {priority}; it must be 1 to 10" in refused(stage, SetPriority(3, "cam", priority))
    assert stage.registry.named("cam").spec.priority == 5
    assert result(stage, ShowOverrides(4))["apps"] == []


def test_a_priority_of_an_app_that_there_is_not_is_refused(stage: Stage) -> None:
    assert "no app 'cma'" in refused(stage, SetPriority(3, "cma", 3))


# Pins.


def test_a_pinned_block_stays_though_another_variant_is_better(stage: Stage) -> None:
    assert runs(stage) == FULL
    answer = result(stage, Pin(3, "cam", {"second": "small"}))
    assert runs(stage) == ("original", "small")
    assert (answer["pins"], answer["pinned_exits"], answer["unmet_pins"]) == ({"second": "small"}, None, [])
    assert answer["sentence"].startswith("cam is pinned to second=small: cam moves to 1 smaller block")
    assert told(stage, "pin") == [
        {"app": "cam", "pins": {"second": "small"}, "pinned_exits": None, "unmet_pins": []},
    ]
    for _ in range(5):
        stage.clock.advance(10.0)
        stage.loop.turn([])
    assert runs(stage) == ("original", "small")
    stage.join("other")
    assert (runs(stage), runs(stage, "other")) == (("original", "small"), FULL)


def test_without_blocks_the_whole_route_is_held_and_freed(stage: Stage) -> None:
    assert result(stage, Pin(3, "cam"))["pins"] == {"first": "original", "second": "original"}
    result(stage, SetPriority(4, "cam", 9))
    stage.join("other", 11.0)
    assert runs(stage) == FULL
    assert result(stage, Unpin(5, "cam"))["pins"] == {}
    assert told(stage, "pin")[-1]["pins"] == {}
    assert "nothing is pinned for 'cam'" in refused(stage, Unpin(6, "cam"))


def test_a_pin_may_cost_a_budget_and_says_so(stage: Stage) -> None:
    assert result(stage, Pin(3, "cam"))["miss_ms"] == 0.0
    tight = stage.join("tight", 5.0)
    assert runs(stage, "tight") == SMALL
    answer = result(stage, Pin(5, "tight", {"first": "original", "second": "original"}))
    assert answer["miss_ms"] > 0
    assert answer["nearest_budget_ms"] > tight.spec.budget_ms


def test_one_block_is_freed_and_the_other_stays(stage: Stage) -> None:
    result(stage, Pin(3, "cam", {"first": "small", "second": "small"}))
    assert runs(stage) == SMALL
    assert result(stage, Unpin(4, "cam", ("0",)))["pins"] == {"second": "small"}
    assert runs(stage) == ("original", "small")
    assert "block 'fist' of 'cam' is not pinned" in refused(stage, Unpin(5, "cam", ("fist",)))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Pin(3, "cam", {"frist": "small"}), 'did you mean "first"?'),
        (Pin(3, "cam", {"first": "smal"}), 'did you mean "small"?'),
        (Pin(3, "cam", {"second": "small", "third": "small"}), "there are: first, second"),
        (Pin(3, "cma", {"first": "small"}), "no app 'cma'; apps: cam"),
        (Unpin(3, "cma"), "no app 'cma'; apps: cam"),
    ],
)
def test_a_pin_that_makes_no_sense_changes_nothing(stage: Stage, request_: ControlRequest, said: str) -> None:
    before = stage.loop.plan
    assert said in refused(stage, request_)
    assert stage.loop.plan is before
    assert result(stage, ShowOverrides(4))["apps"] == []


def test_plan_apps_and_why_say_what_is_pinned(stage: Stage) -> None:
    result(stage, Pin(3, "cam", {"second": "small"}))
    (app,) = result(stage, Apps(4))["apps"]
    (planned,) = result(stage, ShowPlan(5))["apps"]
    reasons = result(stage, Why(6, "cam"))
    for row in (app, planned, reasons):
        assert row["pins"] == {"second": "small"}
    assert reasons["better"] is None, "the pinned block has no other choice, and the other one has its best"
    assert reasons["unmet_pins"] == []


def test_a_pinned_variant_that_fails_is_left_and_taken_again(stage: Stage) -> None:
    result(stage, Pin(3, "cam", {"second": "small"}))
    stage.loop.turn([Faulted("cam", ("b",), "boom", no_numbers=False)] * 3)
    assert runs(stage) == FULL, "what is pinned keeps nobody from running"
    (row,) = result(stage, Apps(4))["apps"]
    assert row["unmet_pins"] == ["second runs original now, not small"]
    assert "its pin is ignored" in stage.loop.plan.note
    for _ in range(100):
        stage.clock.advance(60.0)
        stage.loop.turn([])
        if runs(stage) == ("original", "small"):
            break
    assert runs(stage) == ("original", "small"), "it is tried again, and the pin holds as before"


def test_a_pinned_variant_that_cannot_be_loaded_is_told(stage: Stage) -> None:
    stage.damaged.add("b")
    answer = result(stage, Pin(3, "cam", {"second": "small"}))
    assert runs(stage) == FULL
    assert answer["unmet_pins"] == ["second runs original now, not small"]
    assert answer["kept"]


def test_pins_hold_without_the_solver(stage: Stage) -> None:
    stage.join("tight", 5.0)
    stage.solver.broken = True
    result(stage, Pin(3, "cam", {"second": "small"}))
    assert runs(stage)[1] == "small"


def test_pins_and_priorities_hold_for_the_next_daemon(stage: Stage, start: Callable[[], Stage]) -> None:
    result(stage, Pin(3, "cam", {"second": "small"}))
    result(stage, SetPriority(4, "cam", 9))
    again = start()
    assert again.join().spec.priority == 9
    assert runs(again) == ("original", "small")
    assert told(again, "pin")[0]["pins"] == {"second": "small"}
    (row,) = result(again, ShowOverrides(3))["apps"]
    assert row == {
        "app": "cam",
        "budget_ms": None,
        "registered_budget_ms": 50.0,
        "priority": 9,
        "registered_priority": 5,
        "pins": {"second": "small"},
        "pinned_exits": None,
    }
    sentence = result(again, DropOverrides(4, "cam"))["sentence"]
    assert "priority of cam 9 -> 5" in sentence
    assert "cam is free again at second" in sentence
    assert runs(again) == FULL
    assert start().ask(ShowOverrides(5)).result["apps"] == []


def test_what_is_pinned_for_an_app_that_has_left_is_freed_by_its_name(stage: Stage) -> None:
    app = stage.registry.named("cam")
    result(stage, Pin(3, "cam", {"second": "small"}))
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "unregistered")])
    answer = result(stage, Unpin(4, "cam"))
    assert (answer["pins"], answer["accuracy"]) == ({}, None)
    assert stage.join(identity="again").spec.pins.variants == ()
    assert result(stage, ShowOverrides(5))["apps"] == [], "nothing is left of it"


def test_pins_of_another_model_keep_nobody_from_running(tmp_path: Path) -> None:
    """As if the model had been built again with other blocks while the daemon was away."""
    (tmp_path / "overrides.json").write_text(
        '{"version": 1, "apps": {"cam": {"pins": {"gone": "small", "second": "tiny", "first": "small"}}}}'
    )
    again = Stage(keeper=Keeper(OverridesFile(tmp_path), AtOnce()))
    again.join()
    assert runs(again) == ("small", "original")
    said = ["second of m has no variant tiny", "m has no block gone"]
    (row,) = result(again, Apps(3))["apps"]
    assert sorted(row["unmet_pins"]) == sorted(said)
    assert sorted(told(again, "pin")[0]["unmet_pins"]) == sorted(said)
    again.switcher.close()


def test_dropping_what_is_set_leaves_what_was_measured_of_a_camera(stage: Stage) -> None:
    app = stage.registry.named("cam")
    app.spec = replace(app.spec, prepare_ms=1.5)
    result(stage, SetPriority(3, "cam", 9))
    result(stage, DropOverrides(4, "cam"))
    assert (app.spec.prepare_ms, app.spec.priority) == (1.5, 5)
