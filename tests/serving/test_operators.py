"""What a key that may only look is let do: every request is decided here, so that a new one is not forgotten."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args

import pytest

from schedulerd.serving.operators import Operators, only_asks
from schedulerd.wire.messages import (
    Apps,
    ControlRequest,
    LogLevel,
    Models,
    Objective,
    Ping,
    Register,
    Reload,
    SetBudget,
    ShowOverrides,
    ShowPlan,
    Status,
    WhatIf,
    Why,
)

QUESTIONS = {Apps, LogLevel, Models, Objective, Ping, ShowOverrides, ShowPlan, Status, WhatIf, Why}


@pytest.mark.parametrize(
    "request_",
    [
        Status(1),
        Apps(1),
        ShowPlan(1),
        Models(1),
        Why(1, "a"),
        WhatIf(1, {}),
        ShowOverrides(1),
        Ping(1),
        Objective(1, None),
        LogLevel(1, None),
    ],
)
def test_questions_only_ask(request_: ControlRequest) -> None:
    assert only_asks(request_)


@pytest.mark.parametrize(
    "request_",
    [SetBudget(1, "a", 5.0), Objective(1, "min-latency"), LogLevel(1, "debug"), Reload(1), Register(1, "m", 5.0, 5.0)],
)
def test_edits_do_not(request_: ControlRequest) -> None:
    assert not only_asks(request_)


@pytest.mark.parametrize("kind", sorted(set(get_args(ControlRequest)) - QUESTIONS, key=str))
def test_every_other_request_is_taken_for_an_edit(kind: type[NamedTuple]) -> None:
    assert not only_asks(cast(ControlRequest, kind._make([None] * len(kind._fields))))


def test_whoever_is_missing_or_has_another_name_is_lacking() -> None:
    both = Operators({"k1": "anna", "k2": "bob"})
    assert not both.lack(Operators({"k1": "anna"}, frozenset({"anna"})))
    assert Operators({"k1": "anna"}).lack(both)
    assert Operators({"k1": "carl", "k2": "bob"}).lack(both)
