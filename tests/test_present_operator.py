"""What `schedctl reload` and `schedctl overrides` print, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from schedulerd import present, present_operator
from schedulerd.ctl import main
from schedulerd.ctl_control import Control
from tests.test_ctl import BUDGET, CHANGE, LIMIT, OBJECTIVE, OVERRIDES, RELOAD

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
