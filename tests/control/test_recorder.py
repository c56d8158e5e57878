"""The ring of decisions: what is in it after kills, when it is full, and on a disk that refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from schedulerd.control.recorder import FILE_NAME, Recorded, Recorder, read_records
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import make_solver
from schedulerd.optimizer.validate import BadProblem
from schedulerd.plan import EMPTY_PLAN, Plan, difference
from schedulerd.wire.messages import SetBudget
from tests.control.stage import Stage
from tests.fakes import FakeClock
from tests.optimizer.problems import two_apps

PROBLEM = two_apps(memory_bytes=40_000_000)
LINE_BYTES = len(Recorded(1_700_001_000.0, PROBLEM, EMPTY_PLAN).to_line())
"""Of a decision whose plan has one digit."""


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from schedulerd.control.recorder import Recorder
from schedulerd.plan import EMPTY_PLAN
from tests.fakes import FakeClock
from tests.optimizer.problems import two_apps
recorder, problem = Recorder(Path(sys.argv[1]), int(sys.argv[2]), FakeClock()), two_apps(memory_bytes=40_000_000)
for number in range(10**9):
    recorder.record(problem, replace(EMPTY_PLAN, number=number))
    print(number, flush=True)
"""
"""A process that records and says so for as long as it lives."""


def plan(number: int) -> Plan:
    return replace(EMPTY_PLAN, number=number)


def numbers(folder: Path) -> list[int]:
    return [recorded.plan.number for recorded in read_records(folder / FILE_NAME)]


def test_decisions_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder = Recorder(tmp_path / "state", 10**6, clock)
    for number in (1, 2):
        recorder.record(PROBLEM, plan(number))
        clock.advance(0.5)
    first, second = read_records(tmp_path / "state" / FILE_NAME)
    assert first == Recorded(1_700_001_000.0, PROBLEM, plan(1))
    assert second == Recorded(1_700_001_000.5, PROBLEM, plan(2))


def test_a_restart_goes_on_with_the_file(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        Recorder(tmp_path, 10**6, FakeClock()).record(PROBLEM, plan(number))
    assert numbers(tmp_path) == [1, 2, 3]


def test_the_file_never_outgrows_its_limit_and_keeps_the_newest(tmp_path: Path) -> None:
    limit_bytes = 6 * LINE_BYTES + 20
    recorder = Recorder(tmp_path, limit_bytes, FakeClock())
    for number in range(100):
        recorder.record(PROBLEM, plan(number))
        assert (tmp_path / FILE_NAME).stat().st_size <= limit_bytes
        kept = numbers(tmp_path)
        assert kept == list(range(kept[0], number + 1))
        assert len(kept) >= min(number + 1, 3)


def test_a_smaller_limit_than_before_holds_from_the_next_decision_on(tmp_path: Path) -> None:
    large = Recorder(tmp_path, 10**6, FakeClock())
    for number in range(8):
        large.record(PROBLEM, plan(number))
    Recorder(tmp_path, 3 * LINE_BYTES, FakeClock()).record(PROBLEM, plan(8))
    assert numbers(tmp_path) == [7, 8]


def test_a_torn_last_line_is_not_read_and_gives_way_to_the_next(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10**6, FakeClock())
    recorder.record(PROBLEM, plan(1))
    recorder.record(PROBLEM, plan(2))
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for torn_bytes in (1, 2, LINE_BYTES // 2, LINE_BYTES - 1):
        path.write_bytes(whole[:-torn_bytes])
        assert numbers(tmp_path) == [1, 2] if torn_bytes == 1 else [1]
        recorder.record(PROBLEM, plan(3))
        assert numbers(tmp_path) == [1, 3]


def test_a_kill_at_any_moment_leaves_a_file_of_whole_decisions(tmp_path: Path) -> None:
    """A process of its own writes for as long as it lives, its ring full all the time."""
    last = -1
    for lived in (1, 5, 23):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(6 * LINE_BYTES)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        with writer.stdout:
            for _ in range(lived):
                last = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=10)
        kept = numbers(tmp_path)
        assert kept[-1] >= last, "what was recorded before the kill is there"
    assert (tmp_path / FILE_NAME).stat().st_size <= 6 * LINE_BYTES


def test_what_a_kill_left_while_the_file_was_made_anew_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{FILE_NAME}.0badcafe.partial").write_bytes(b"half")
    recorder = Recorder(tmp_path, 3 * LINE_BYTES, FakeClock())
    for number in range(5):
        recorder.record(PROBLEM, plan(number))
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_decision_larger_than_the_file_may_be_is_left_out_and_told_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, LINE_BYTES - 1, FakeClock())
    with structlog.testing.capture_logs() as logs:
        recorder.record(PROBLEM, plan(1))
        recorder.record(PROBLEM, plan(2))
    assert [entry["reason"] for entry in logs] == [
        f"a decision takes {LINE_BYTES} bytes, the file may take {LINE_BYTES - 1}"
    ]
    assert not (tmp_path / FILE_NAME).exists()


def test_a_disk_that_refuses_is_told_and_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as logs:
        Recorder(tmp_path / "state", 10**6, FakeClock()).record(PROBLEM, plan(1))
    assert [entry["event"] for entry in logs] == ["decision_not_recorded"]


def test_a_problem_that_json_cannot_hold_is_told_and_nothing_is_raised(tmp_path: Path) -> None:
    nan = Problem(PROBLEM.apps, replace(PROBLEM.limits, overhead_ms=float("nan")))
    with structlog.testing.capture_logs() as logs:
        Recorder(tmp_path, 10**6, FakeClock()).record(nan, plan(1))
    assert "problem.limits.overhead_ms is nan" in logs[0]["reason"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{]\n", "line 2 is not JSON"),
        (b"[" * 100_000 + b"\n", "line 2 is not JSON"),
        (b"\xff\xfe\n", "line 2 is not JSON"),
        (b"\n", "line 2 is not JSON"),
        (b"[]\n", "line 2 is no recorded decision: an object of at_s, plan, problem"),
        (b'{"at_s":1,"problem":{},"plan":{},"more":0}\n', "line 2 is no recorded decision"),
        (b'{"at_s":"now","problem":{},"plan":{}}\n', "line 2: at_s is 'now'"),
        (b'{"at_s":1e300,"problem":{},"plan":{}}\n', "line 2: at_s is 1e+300"),
        (b'{"at_s":1,"problem":{},"plan":{}}\n', "line 2: problem.format is None"),
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    Recorder(tmp_path, 10**6, FakeClock()).record(PROBLEM, plan(1))
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(BadProblem) as caught:
        numbers(tmp_path)
    assert f"{path}, {said}" in str(caught.value)


def test_the_loop_records_what_it_decided_and_the_same_comes_of_it_again(tmp_path: Path) -> None:
    stage = Stage(record=Recorder(tmp_path, 10**6, FakeClock()).record)
    stage.join("cam", budget_ms=50.0)
    stage.join("door", budget_ms=50.0)
    stage.ask(SetBudget(1, "cam", 15.0))
    recorded = list(read_records(tmp_path / FILE_NAME))
    assert [one.plan.number for one in recorded] == [1, 2, 3]
    assert recorded[-1].plan == stage.loop.plan
    assert [a.app.budget_ms for a in recorded[-1].problem.apps] == [15.0, 50.0]
    for one in recorded:
        again = solve(one.problem, make_solver("highs", 5.0), one.plan.number)
        assert not difference(one.plan, again)


def test_a_line_is_one_json_object_that_other_tools_read(tmp_path: Path) -> None:
    Recorder(tmp_path, 10**6, FakeClock()).record(PROBLEM, plan(4))
    (line,) = (tmp_path / FILE_NAME).read_text().splitlines()
    assert json.loads(line)["plan"]["number"] == 4
