"""`ControlClient` against real sockets: questions, edits and events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import schedulerd_client
from schedulerd.wire.messages import (
    Code,
    Drain,
    LogLevel,
    Objective,
    Pin,
    Resume,
    SetBudget,
    SetLimit,
    SetPriority,
    Status,
    Unpin,
    WhatIf,
    Why,
)
from schedulerd_client import EVENT_KINDS, Addition, ControlClient
from tests.clients.fakedaemon import FakeDaemon, Twist

SHORT_S = 0.4


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (ControlClient.status, "Status"),
        (ControlClient.apps, "Apps"),
        (ControlClient.plan, "ShowPlan"),
        (ControlClient.models, "Models"),
        (ControlClient.objective, "Objective"),
        (ControlClient.whatif, "WhatIf"),
        (ControlClient.log_level, "LogLevel"),
        (ControlClient.reload, "Reload"),
        (ControlClient.overrides, "ShowOverrides"),
        (ControlClient.drop_overrides, "DropOverrides"),
        (ControlClient.drain, "Drain"),
        (ControlClient.resume, "Resume"),
    ],
)
def test_each_question_reaches_the_daemon(runtime: Path, ask: Callable[[ControlClient], Any], asked: str) -> None:
    with FakeDaemon(runtime), ControlClient(runtime) as control:
        assert ask(control) == {"asked": asked}


def test_edits_reach_the_daemon(runtime: Path) -> None:
    with FakeDaemon(runtime) as daemon, ControlClient(runtime) as control:
        assert control.set_budget("front", 12.5)["app"] == "front"
        control.set_limit("memory", 80_000_000)
        control.set_limit("memory", None)
        control.ping()
        asked = daemon.requests[:3]
    assert asked == [SetBudget(1, "front", 12.5), SetLimit(2, "memory", 80_000_000), SetLimit(3, "memory", None)]
    assert [type(one) for one in asked] == [SetBudget, SetLimit, SetLimit]


def test_what_is_set_for_an_app_reaches_the_daemon(runtime: Path) -> None:
    with FakeDaemon(runtime) as daemon, ControlClient(runtime) as control:
        control.set_priority("front", 9)
        control.pin("front", {"stem": "original"})
        control.pin("front")
        control.unpin("front", ["stem"])
        control.unpin("front")
        control.resume("front")
        asked = daemon.requests
    assert asked == [
        SetPriority(1, "front", 9),
        Pin(2, "front", {"stem": "original"}),
        Pin(3, "front"),
        Unpin(4, "front", ("stem",)),
        Unpin(5, "front"),
        Resume(6, "front"),
    ]
    assert [type(one) for one in asked] == [SetPriority, Pin, Pin, Unpin, Unpin, Resume]


@pytest.mark.parametrize(("timeout_s", "asked_s"), [(5.0, 4.0), (600.0, 60.0)])
def test_a_drain_is_to_be_answered_before_its_client_gives_up(runtime: Path, timeout_s: float, asked_s: float) -> None:
    with FakeDaemon(runtime) as daemon, ControlClient(runtime, timeout_s=timeout_s) as control:
        control.drain("front")
        assert daemon.requests == [Drain(1, "front", asked_s)]


def test_questions_reach_the_daemon_as_they_were_asked(runtime: Path) -> None:
    join = Addition("digits", 50.0, 15.0)
    with FakeDaemon(runtime) as daemon, ControlClient(runtime) as control:
        control.why("front")
        control.whatif({"front": 20.0}, 300_000_000, [join, join], "min-latency")
        control.objective("min-energy")
        control.log_level("debug")
        asked = daemon.requests
    assert asked == [
        Why(1, "front"),
        WhatIf(2, {"front": 20.0}, 300_000_000, (join, join), "min-latency"),
        Objective(3, "min-energy"),
        LogLevel(4, "debug"),
    ]
    assert [type(one) for one in asked] == [Why, WhatIf, Objective, LogLevel]


def test_a_request_too_large_to_be_read_is_refused_at_once(runtime: Path) -> None:
    """The daemon knows not even its id."""
    with FakeDaemon(runtime), ControlClient(runtime) as control:
        with pytest.raises(schedulerd_client.BadMessage, match="33 exceeds max_map_len"):
            control.pin("front", {f"block {number}": "original" for number in range(33)})
        assert control.status() == {"asked": "Status"}


def test_a_refusal_is_raised_as_its_class(runtime: Path) -> None:
    with (
        FakeDaemon(runtime, lambda _: Code.NOT_PERMITTED),
        ControlClient(runtime) as control,
        pytest.raises(schedulerd_client.NotPermitted),
    ):
        control.set_limit("memory", 1)


def test_an_operator_learns_at_once_that_there_is_no_daemon_and_can_ask_again(runtime: Path) -> None:
    with ControlClient(runtime, timeout_s=60.0) as control:
        with pytest.raises(schedulerd_client.Unreachable, match=r"control\.sock"):
            control.status()
        with FakeDaemon(runtime) as daemon:
            assert control.status() == {"asked": "Status"}
            assert daemon.count(Status) == 1


def test_a_daemon_that_goes_away_is_unreachable_and_its_successor_is_found(runtime: Path) -> None:
    with ControlClient(runtime, timeout_s=60.0) as control:
        with FakeDaemon(runtime):
            control.status()
        with pytest.raises(schedulerd_client.Unreachable):
            control.status()
        with FakeDaemon(runtime):
            assert control.status() == {"asked": "Status"}


def test_no_answer_is_a_time_out_and_the_next_question_gets_its_own(runtime: Path) -> None:
    def hold_status(request: object) -> Twist | None:
        return Twist.HOLD if isinstance(request, Status) else None

    with FakeDaemon(runtime, hold_status), ControlClient(runtime, timeout_s=SHORT_S) as control:
        with pytest.raises(schedulerd_client.TimedOut):
            control.status()
        assert control.apps() == {"asked": "Apps"}


def test_events_of_the_kinds_asked_for_come_in_order(runtime: Path) -> None:
    with FakeDaemon(runtime), ControlClient(runtime) as control, control.events(["plan", "miss"]) as events:
        heard = [next(events) for _ in range(6)]
    assert [e.seq for e in heard if e.kind == "plan"] == [1, 2, 3]
    assert [e.body for e in heard if e.kind == "miss"] == [{"of": "miss"}] * 3


def test_a_stream_with_a_time_out_ends_in_silence(runtime: Path) -> None:
    with FakeDaemon(runtime), ControlClient(runtime) as control, control.events(timeout_s=SHORT_S) as events:
        assert {event.kind for event in events} == set(EVENT_KINDS)


def test_a_stream_says_when_the_daemon_goes_away(runtime: Path) -> None:
    with ControlClient(runtime) as control:
        with FakeDaemon(runtime):
            events = control.events(["plan"])
            assert next(events).seq == 1
        with events, pytest.raises(schedulerd_client.Unreachable, match="went away"):
            for _ in events:
                pass


def test_a_stream_without_a_daemon_says_so(runtime: Path) -> None:
    with ControlClient(runtime) as control, pytest.raises(schedulerd_client.Unreachable, match=r"events\.sock"):
        control.events()


@pytest.mark.parametrize("kinds", [[], ["weather"], ["plan", "weather"]])
def test_kinds_that_never_come_are_refused(runtime: Path, kinds: list[str]) -> None:
    with ControlClient(runtime) as control, pytest.raises(ValueError, match="choose from plan"):
        control.events(kinds)


def test_a_closed_client_says_so(runtime: Path) -> None:
    control = ControlClient(runtime)
    control.close()
    control.close()
    with pytest.raises(schedulerd_client.Closed):
        control.status()
