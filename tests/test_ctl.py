"""`schedctl`: what it asks, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from schedulerd import present
from schedulerd.control.advisor import PATIENCE_S
from schedulerd.ctl import main
from schedulerd.ctl_commands import LONG_S
from schedulerd.ctl_control import Control
from schedulerd_client import Addition, Code, Event, NotPermitted, TimedOut, UnknownApp, Unreachable
from tests.fakectl import (
    APPS,
    BUDGET,
    DRAINED,
    DROPPED,
    LIMIT,
    LOG_LEVEL,
    MISSED,
    MODELS,
    OBJECTIVE,
    OVERRIDES,
    PINNED,
    PLAN,
    PRIORITY,
    RELOAD,
    RESUMED,
    STATUS,
    WHATIF,
    WHY,
    FakeControl,
    FakeEvents,
)


def run(control: FakeControl, *arguments: str) -> int:
    """The exit code, also where argparse ends the program."""

    def connect(_: Path | None, __: float) -> Control:
        return control

    try:
        return main(arguments, connect)
    except SystemExit as end:
        return int(end.code or 0)


def typed(value: object) -> str:
    """Arguments as they are typed, for the names of tests."""
    return " ".join(value) if isinstance(value, list) else ""


@pytest.mark.parametrize(
    ("arguments", "asked", "answer"),
    [
        (["status"], ("status",), STATUS),
        (["apps"], ("apps",), APPS),
        (["plan"], ("plan",), PLAN),
        (["models"], ("models",), MODELS),
        (["budget", "cam1", "25ms"], ("budget", "cam1", 25.0), BUDGET),
        (["budget", "cam1", "0.5s"], ("budget", "cam1", 500.0), BUDGET),
        (["limit", "memory", "80MB"], ("limit", "memory", 80_000_000), LIMIT),
        (["limit", "memory", "auto"], ("limit", "memory", None), LIMIT),
        (["why", "cam1"], ("why", "cam1"), WHY),
        (["whatif", "--budget", "a=b=20ms"], ("whatif", {"a=b": 20.0}, None, (), None), WHATIF),
        (["whatif", "--memory", "300MB"], ("whatif", {}, 300_000_000, (), None), WHATIF),
        (["whatif", "--objective", "min-energy"], ("whatif", {}, None, (), "min-energy"), WHATIF),
        (
            ["whatif", "--add", "digits:50ms:15Hz", "--budget", "a=20ms", "--add", "a:b:1s:0.5kHz", "--budget", "b=1s"],
            (
                *("whatif", {"a": 20.0, "b": 1000.0}, None),
                *((Addition("digits", 50.0, 15.0), Addition("a:b", 1000.0, 500.0)), None),
            ),
            WHATIF,
        ),
        (["objective"], ("objective", None), OBJECTIVE),
        (["objective", "min-latency"], ("objective", "min-latency"), OBJECTIVE),
        (["priority", "cam1", "9"], ("priority", "cam1", 9), PRIORITY),
        (["pin", "cam1"], ("pin", "cam1", {}), PINNED),
        (["pin", "cam1", "stem=original", "a=b=c"], ("pin", "cam1", {"stem": "original", "a": "b=c"}), PINNED),
        (["unpin", "cam1"], ("unpin", "cam1", ()), PINNED),
        (["unpin", "cam1", "stem", "tail"], ("unpin", "cam1", ("stem", "tail")), PINNED),
        (["drain"], ("drain", None), DRAINED),
        (["drain", "cam1"], ("drain", "cam1"), DRAINED),
        (["resume"], ("resume", None), RESUMED),
        (["resume", "cam1"], ("resume", "cam1"), RESUMED),
        (["log-level"], ("log_level", None), LOG_LEVEL),
        (["log-level", "debug"], ("log_level", "debug"), LOG_LEVEL),
        (["reload"], ("reload",), RELOAD),
        (["overrides"], ("overrides",), OVERRIDES),
        (["overrides", "drop"], ("drop", None), DROPPED),
        (["overrides", "drop", "all"], ("drop", None), DROPPED),
        (["overrides", "drop", "cam1"], ("drop", "cam1"), DROPPED),
    ],
    ids=typed,
)
@pytest.mark.parametrize("json_first", [True, False], ids=["json-before", "json-after"])
def test_json_is_the_daemons_answer(
    arguments: list[str],
    asked: tuple[object, ...],
    answer: Mapping[str, Any],
    json_first: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    control = FakeControl()
    line = ["--json", *arguments] if json_first else [*arguments, "--json"]
    assert run(control, *line) == 0
    assert control.asked == [asked, ("closed",)]
    assert json.loads(capsys.readouterr().out) == answer


def test_status_reads_as_a_block_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "status") == 0
    assert capsys.readouterr().out == (
        "schedulerd  0.1.0, ready, pid 4711, up 1 min 15 s\n"
        "engine      onnxruntime, 1 lane of 2 threads\n"
        "plan        7 for 2 apps\n"
        "requests    1200 answered, 3 late, 1 refused, 6 route changes\n"
        "blocks      12.3 MB of 80.0 MB allowed, 8 live, 12 warm\n"
        "memory      103.0 MB daemon, 2.1 GB free on the board\n"
        "processor   63% busy, - by others; blocks take 1.12 times their profile (1.30 at the 95th percentile)\n"
    )


def test_status_says_what_sets_the_limits_and_how_the_board_is() -> None:
    lines = present.status(
        {
            **STATUS,
            "memory_limit_reason": "a squeeze: free memory fell by 9.0 MB a second",
            "utilisation_limit": 0.45,
            "utilisation_limit_reason": "heat: cpu was at 78 C",
            "power_limit_w": 2.5,
            "power_limit_reason": "[limits] power_w",
            "stalls": {"memory": 0.12, "io": 0.0},
            "zones": {"gpu": 60.0, "cpu\x1b": 78.4},
            "throttled": ["heat"],
            "clock_share": 0.8,
            "learned_clock_share": 0.6,
            "board_power_w": 6.25,
            "battery": 0.4,
            "discharging": True,
            "unread": {"cgroup": "PermissionError"},
        }
    ).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("may use"))
    assert lines[at : at + 3] == [
        "may use     80.0 MB: a squeeze: free memory fell by 9.0 MB a second",
        "            45% of the lanes: heat: cpu was at 78 C",
        "            2.50 W: [limits] power_w",
    ]
    assert lines[-5:] == [
        "stalls      some work stood still for memory 12%, io 0% of the time",
        "heat        78.4 C at the hottest of 2 (cpu?), clocks held down for heat; they once fell to 60% for it",
        "power       6.25 W by the whole board",
        "battery     40%, discharging",
        "unread      cgroup: PermissionError",
    ]


def test_status_says_how_many_route_changes_had_to_load() -> None:
    assert "6 route changes (1 of 4 plans had to load)" in present.status({**STATUS, "warm_swaps": 3, "cold_swaps": 1})
    assert "had to load" not in present.status({**STATUS, "warm_swaps": 0, "cold_swaps": 0})


def test_status_says_what_was_dropped_where_something_was() -> None:
    dropped = {"replies": 3, "connections": 0, "rings": 0, "packets": 1}
    assert present.status({**STATUS, "dropped": dropped}).splitlines()[-1] == "dropped     replies 3, packets 1"
    assert "dropped" not in present.status({**STATUS, "dropped": dict.fromkeys(dropped, 0)})


def test_status_says_why_there_are_so_many_lanes_where_the_profile_chose_them() -> None:
    lines = present.status({**STATUS, "lanes_reason": "frames/s: 2 x 1: 36\x1b"}).splitlines()
    assert lines[1] == "engine      onnxruntime, 1 lane of 2 threads"
    assert lines[2].startswith("            chosen by frames/s: 2 x 1: 36")
    assert "\x1b" not in lines[2]


def test_apps_line_up_and_absent_values_are_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "apps") == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:5] == ["cam1", "digits-residual", "25.0", "30.0", "8"]
    assert "8.0 / 11.2" in first
    assert "in time" in first
    assert first.endswith("original|w50")
    assert first.split()[-3:-1] == ["3", "4"], "three refused of two kinds, four swaps"
    assert second.startswith("a-camera-with-a-long-name")
    assert "late by 3.1 ms" in second
    assert "40.0 at p99" in second, "the percentile only where it is not the usual one"
    assert "p95 " not in first
    for text in (first, second):
        assert text[heading.index("ROUTE") - 1] == " "
        assert len(text) >= heading.index("ROUTE")


def test_plan_says_why_and_what_binds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "plan") == 0
    out = capsys.readouterr().out
    assert out.startswith("plan 7: cam1 gives up 0.8 points to run in 11.2 ms\n")
    assert "cause     budget of cam1 50 -> 25 ms" in out
    assert "binding   budget:cam1, memory" in out
    assert "cam1: stem original 2.50 ms (measured 2.61), stage1 w50 5.54 ms (predicted row, +-12%)" in out


def test_plan_and_its_event_show_what_kept_the_solver_from_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    class _Noted(FakeControl):
        def plan(self) -> Mapping[str, Any]:
            return {**PLAN, "note": "CBC crashed with SIGSEGV"}

    control = _Noted()
    assert run(control, "plan") == 0
    assert "note      CBC crashed with SIGSEGV\n" in capsys.readouterr().out
    assert run(FakeControl(), "plan") == 0
    assert "note" not in capsys.readouterr().out
    body = {"number": 8, "sentence": "cam1 joins", "note": "CBC crashed with SIGSEGV"}
    control.stream = FakeEvents([Event("plan", 1, 1_700_000_000.0, body)])
    assert run(control, "events") == 0
    assert capsys.readouterr().out.endswith("plan      cam1 joins (note: CBC crashed with SIGSEGV)\n")


@pytest.mark.parametrize(
    ("status", "gap", "said"),
    [
        ("optimal", 0.0, "optimal: no plan is better;"),
        ("bounded", 0.0031, "bounded: at most 0.31% from the best;"),
        ("bounded", 4e-6, "bounded: at most 0.0004% from the best;"),
        ("time_limit", 0.123, "time_limit: at most 12% from the best;"),
        ("unproven", None, "unproven: how far from the best is not known;"),
        ("greedy", None, "greedy: how far from the best is not known;"),
    ],
)
def test_plan_says_how_far_from_the_best_it_may_be(
    capsys: pytest.CaptureFixture[str], status: str, gap: float | None, said: str
) -> None:
    class _Proven(FakeControl):
        def plan(self) -> Mapping[str, Any]:
            return {**PLAN, "status": status, "gap": gap}

    assert run(_Proven(), "plan") == 0
    assert f"decided   {said} 3.2 ms to solve" in capsys.readouterr().out


def test_plan_shows_what_is_predicted_beside_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "plan") == 0
    lines = capsys.readouterr().out.splitlines()
    heading = next(line for line in lines if line.startswith("APP"))
    cam1 = lines[lines.index(heading) + 1]
    for column, figures in {"PREDICTED": "8.0 / 11.2", "MEASURED": "8.3 / 10.9", "ON AVERAGE": "7.5 (7.8)"}.items():
        at = heading.index(column)
        assert figures in cam1[at - 1 : at + 30]


def test_an_edited_budget_is_answered_with_what_it_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "budget", "cam1", "25ms") == 0
    assert capsys.readouterr().out == (
        "cam1: budget 25.0 ms, plan 8 in 1.1 ms\n"
        "cam1 gives up 0.8 points to run in 11.2 ms\n"
        "predicted p95 11.2 ms (in time), accuracy 97.2%\n"
    )


def test_a_budget_that_is_missed_is_answered_with_the_nearest_that_can_be_met(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class _Missing(FakeControl):
        def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
            return MISSED

    assert run(_Missing(), "budget", "cam1", "5ms") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "predicted p95 11.2 ms (late by 6.2 ms), accuracy 97.2%",
        "the least budget that can be met: 11.2 ms",
    ]


def test_another_objective_is_answered_with_what_it_led_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "objective", "min-latency") == 0
    assert capsys.readouterr().out == (
        "objective min-latency, plan 9 in 0.9 ms\ncam1 moves to 2 smaller blocks\nweighted accuracy 97.1%\n"
    )


def test_the_level_in_force_is_told_with_what_else_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "log-level") == 0
    assert capsys.readouterr().out == "log level info; there are debug, info\n"


def test_the_objective_in_force_is_told_with_what_else_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "objective") == 0
    assert capsys.readouterr().out == "objective min-latency; there are max-accuracy, min-latency\n"


@pytest.mark.parametrize(
    "command",
    ["status", "apps", "plan", "models", "why x", "whatif --memory 1MB", "objective", "objective min-latency"],
)
def test_an_answer_with_nothing_in_it_still_prints(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    class _Empty(FakeControl):
        def _answer(self, answer: Mapping[str, Any], *asked: object) -> Mapping[str, Any]:
            return {}

        def apps(self) -> Mapping[str, Any]:
            return {}

    assert run(_Empty(), *command.split()) == 0
    assert capsys.readouterr().out.strip()


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    class _Hostile(FakeControl):
        def apps(self) -> Mapping[str, Any]:
            return {"apps": [{"app": "cam\x1b[2J\n1"}]}

    assert run(_Hostile(), "apps") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


def test_events_shows_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    control = FakeControl()
    assert run(control, "events", "--timeout", "2") == 0
    assert control.asked[0][2] == 2.0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("plan      cam1 gives up 0.8 points")
    assert control.stream.closed


def test_events_follow_goes_on_with_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    control = FakeControl()
    assert run(control, "events", "--follow", "--kind", "plan", "--kind", "miss") == 0
    assert control.asked[0] == ("events", ("plan", "miss"), None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("miss      app=cam1 missed=1")


def test_values_of_an_event_are_in_the_units_that_their_keys_name(capsys: pytest.CaptureFixture[str]) -> None:
    control = FakeControl()
    body = {"causes": ["one", "two"], "slowdown": 5.90119612, "memory_limit_bytes": 9_897_000_000, "value_bytes": None}
    control.stream = FakeEvents([Event("pressure", 1, 1_700_000_000.0, body)])
    assert run(control, "events") == 0
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith("pressure  causes=one, two slowdown=5.901 memory_limit_bytes=9.9 GB value_bytes=-")
    )


def test_events_as_json_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeControl(), "events", "--follow", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[2] == {"kind": "miss", "seq": 3, "at": 1_700_000_002.5, "body": {"app": "cam1", "missed": 2}}


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (NotPermitted("user id 1000 may not control this daemon"), 1, "(not_permitted)"),
        (Unreachable("no daemon at ipc:///run/schedulerd/control.sock"), 3, "no daemon at"),
        (TimedOut("no answer within 5 s"), 3, "no answer within 5 s"),
    ],
)
def test_failures_have_their_exit_codes(
    failure: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FakeControl(failure), "status") == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["budget", "cam", "25ms"],
        ["priority", "cam", "3"],
        ["pin", "cam"],
        ["unpin", "cam"],
        ["drain", "cam"],
        ["why", "cam"],
        ["whatif", "--budget", "cam1=9ms", "--budget", "cam=9ms"],
    ],
    ids=typed,
)
def test_a_mistyped_app_is_answered_with_the_nearest_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    control = FakeControl(UnknownApp("no live app is called 'cam'", Code.UNKNOWN_APP))
    assert run(control, *arguments) == 1
    assert capsys.readouterr().err == ("schedctl: no live app is called 'cam'; did you mean \"cam1\"? (unknown_app)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["staus"], 'did you mean "status"?'),
        (["limit", "memroy", "80MB"], 'did you mean "memory"?'),
        (["events", "--kind", "plans"], 'did you mean "plan"?'),
        (["budget", "cam1", "25"], "needs one of the units us, ms, s; write for example 25ms"),
        (["budget", "cam1", "0ms"], "must be finite and above 0"),
        (["budget", "cam1", "nanms"], "must be finite and above 0"),
        (["limit", "memory", "lots"], "is not a number with a unit; write for example 80MB"),
        (["priority", "cam1", "high"], "invalid int value: 'high'"),
        (["pin", "cam1", "stem"], "is not a block and a variant; write for example 3=original"),
        (["pin", "cam1", "=original"], "is not a block and a variant"),
        (["pin", "cam1", "stem="], "is not a block and a variant"),
        (["objective", "max-acuracy"], 'did you mean "max-accuracy"?'),
        (["log-level", "wraning"], 'did you mean "warning"?'),
        (["whatif", "--objective", "speed"], "choose from 'max-accuracy'"),
        (["whatif", "--budget", "20ms"], "is not an app and a budget; write for example cam1=20ms"),
        (["whatif", "--budget", "cam1=20"], "needs one of the units us, ms, s; write for example 25ms"),
        (["whatif", "--memory", "auto"], "is not a number with a unit; write for example 80MB"),
        (["whatif", "--add", "digits:50ms"], "write for example digits-residual:50ms:15Hz"),
        (["whatif", "--add", "digits:50ms:15"], "needs one of the units Hz, kHz; write for example 15Hz"),
        (["whatif", "--add", "digits:0ms:15Hz"], "must be finite and above 0"),
        (["whatif"], "schedctl: whatif: nothing would be different; give --budget, --memory, --add or --objective"),
        (["status", "--timeout", "0"], "'0' is not a number of seconds above 0"),
        ([], "COMMAND"),
    ],
    ids=typed,
)
def test_wrong_usage_is_2_and_says_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    control = FakeControl()
    assert run(control, *arguments) == 2
    assert said in capsys.readouterr().err
    assert control.asked == []


@pytest.mark.parametrize(
    ("command", "waits_s"),
    [
        ("status", 5.0),
        ("limit memory auto", 5.0),
        ("budget cam1 5ms", 65.0),
        ("why cam1", 65.0),
        ("priority cam1 3", 65.0),
        ("pin cam1", 65.0),
        ("drain", 65.0),
        ("resume", 65.0),
        ("whatif --memory 1MB", 65.0),
        ("why cam1 --timeout 2", 2.0),
        ("--timeout 2 whatif --memory 1MB", 2.0),
    ],
)
def test_an_answer_that_takes_many_decisions_is_waited_for(command: str, waits_s: float) -> None:
    waited_s = []

    def connect(_: Path | None, timeout_s: float) -> Control:
        waited_s.append(timeout_s)
        return FakeControl()

    assert main(command.split(), connect) == 0
    assert waited_s == [waits_s]


def test_schedctl_waits_longer_than_the_daemon_tries() -> None:
    assert LONG_S > PATIENCE_S
