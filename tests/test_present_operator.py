"""What `schedctl reload` and `schedctl overrides` print, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from schedulerd import present, present_advice, present_operator
from schedulerd.ctl import main
from schedulerd.ctl_control import Control
from tests.fakectl import (
    APPS,
    BUDGET,
    CHANGE,
    DRAINED,
    LIMIT,
    OBJECTIVE,
    OVERRIDES,
    PINNED,
    PLAN,
    PRIORITY,
    RELOAD,
    RESUMED,
    STATUS,
    WHY,
)

WAITING = {"section": "engine", "key": "lanes", "before": "1", "after": "2\x1b[2J"}


class Reloaded:
    """A daemon that has read its configuration again."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.answer = answer

    def reload(self) -> Mapping[str, Any]:
        return self.answer

    def __enter__(self) -> Reloaded:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_what_is_in_force_and_what_waits_are_told_apart() -> None:
    assert present_operator.reload({**RELOAD, "restart": [WAITING]}).splitlines() == [
        "applied        [limits] utilisation: 0.8 -> 0.5",
        "needs restart  [engine] lanes: 1 -> 2?[2J",
        "plan 8: cam1 moves to a smaller block",
    ]


def test_a_reload_without_a_plan_says_nothing_of_one() -> None:
    assert present_operator.reload({"applied": [CHANGE], "restart": [], "plan": 8, "sentence": ""}).count("\n") == 0


def test_a_configuration_as_before_is_said_to_be() -> None:
    assert present_operator.reload({"applied": [], "restart": []}) == "the configuration is as it was"


@pytest.mark.parametrize(("restart", "code"), [([], 0), ([WAITING], 4)], ids=["all", "but-for-a-restart"])
def test_the_exit_code_says_whether_all_is_in_force(restart: list[Any], code: int) -> None:
    def connect(_: Path | None, __: float) -> Control:
        return cast(Control, Reloaded({**RELOAD, "restart": restart}))

    assert main(["reload"], connect) == code


def test_what_is_set_is_a_line_each_beside_what_was_registered() -> None:
    assert present_operator.overrides(OVERRIDES).splitlines() == [
        "objective  min-latency",
        "memory     80.0 MB",
        "APP   BUDGET ms  REGISTERED ms",
        "cam1       12.0           25.0",
        "cam2       0.05              -  not connected",
    ]


def test_priorities_and_pins_have_columns_where_some_are_set() -> None:
    held = {"pins": {"stem": "w50"}, "pinned_exits": {"exit1": 0.8, "final": 0.0}}
    cam2 = {"app": "cam2", "priority": 9, "registered_priority": 5, "registered_budget_ms": 25.0, **held}
    lines = present_operator.overrides({"apps": [OVERRIDES["apps"][0], cam2]}).splitlines()
    assert lines[0].split() == ["APP", "BUDGET", "ms", "REGISTERED", "ms", "PRIORITY", "PINNED"]
    assert lines[1].split() == ["cam1", "12.0", "25.0", "-", "-"]
    assert lines[2].split(maxsplit=3)[3] == "9 (asks for 5)  stem=w50, exits exit1>=0.8 final"


def test_exits_that_alone_are_pinned_are_shown() -> None:
    cam = {"app": "cam", "registered_budget_ms": 25.0, "pins": {}, "pinned_exits": {"exit1": 0.8, "final": 0.0}}
    assert "exits exit1>=0.8 final" in present_operator.overrides({"apps": [cam]})


def test_an_edited_priority_is_answered_as_a_budget_is() -> None:
    assert present_operator.priority(PRIORITY).splitlines() == [
        "cam1: priority 9, plan 8 in 1.1 ms",
        "priority of cam1 5 -> 9: cam1 keeps its route",
        "predicted p95 11.2 ms (in time), accuracy 97.2%",
    ]


def test_what_is_pinned_is_told_with_what_of_it_does_not_run() -> None:
    lines = present_operator.pins({**PINNED, "unmet_pins": ["stem runs w50 now, not original\x1b"]}).splitlines()
    assert lines[0] == "cam1: pinned stem=original, plan 8 in 1.1 ms"
    assert lines[-1] == "  a pin is not followed now: stem runs w50 now, not original?"
    assert present_operator.pins({**PINNED, "pins": {}}).startswith("cam1: nothing pinned, plan 8")


def test_plan_apps_and_why_say_what_is_pinned() -> None:
    row = {**APPS["apps"][0], "pins": {"stem": "original"}, "unmet_pins": []}
    assert present.apps({"apps": [row]}).splitlines()[-1] == "cam1 is pinned to stem=original"
    assert "cam1 is pinned to stem=original" in present_advice.why({**WHY, "pins": {"stem": "original"}})
    planned = {**PLAN["apps"][0], "pins": {"stem": "original"}}
    assert present.plan({**PLAN, "apps": [planned]}).splitlines()[-1].endswith("; pinned: stem")


def test_who_is_drained_is_seen_in_status_and_apps() -> None:
    assert "drained     cam1, door (schedctl resume)" in present.status({**STATUS, "drained": ["cam1", "door"]})
    everybody = present.status({**STATUS, "drained": ["cam1"], "drained_all": True})
    assert "drained     cam1, whoever registers (schedctl resume)" in everybody
    assert "drained     whoever registers" in present.status({**STATUS, "drained": [], "drained_all": True}), (
        "one went on"
    )
    assert "drained" not in present.status({**STATUS, "drained": [], "drained_all": False})
    assert present.apps({"apps": [{**APPS["apps"][0], "drained": True}]}).endswith("drained")


def test_draining_and_resuming_are_answered_with_what_followed() -> None:
    assert present_operator.drained(DRAINED) == "drained: cam1\ncam1 is drained"
    assert present_operator.resumed(RESUMED).startswith("resumed: cam1\ncam1 is resumed")


@pytest.mark.parametrize(("in_flight", "code"), [({}, 0), ({"cam1": 2}, 4)], ids=["ended", "in-flight"])
def test_the_exit_code_says_whether_something_is_in_flight(in_flight: dict[str, int], code: int) -> None:
    class Drained(Reloaded):
        def drain(self, _: str | None) -> Mapping[str, Any]:
            return self.answer

    def connect(_: Path | None, __: float) -> Control:
        return cast(Control, Drained({**DRAINED, "in_flight": in_flight}))

    assert main(["drain", "cam1"], connect) == code


def test_events_on_what_operators_do_read_well() -> None:
    body = {"app": "cam1", "pins": {"stem": "w50"}, "pinned_exits": None, "unmet_pins": []}
    assert present.event("pin", 0.0, body).endswith("pin       app=cam1 pins=stem=w50 pinned_exits=- unmet_pins=-")


def test_nothing_set_is_said() -> None:
    assert present_operator.overrides({"apps": [], "kept": True}) == "nothing is set"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (present.budget, BUDGET),
        (present.limit, LIMIT),
        (present.objective, OBJECTIVE),
        (present_operator.dropped, RELOAD),
        (present_operator.overrides, OVERRIDES),
    ],
)
def test_an_edit_that_will_not_survive_says_so(words: Any, answer: Mapping[str, Any]) -> None:
    unkept = {**answer, "kept": False, "kept_reason": "[Errno 30] Read-only file system"}
    assert words(unkept).splitlines()[-1] == (
        "this holds until the daemon stops, and is not kept: [Errno 30] Read-only file system"
    )
    assert "not kept" not in words(answer)
    assert "not kept" not in words({key: value for key, value in answer.items() if key != "kept"}), "an older daemon"
