"""One profiler process: heard, killed with all that it started, and given up when it is silent."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blockprofiles.events import Begun, Event, from_line
from blockprofiles.process import START_FACTOR, ProfilerProcess, core_wait_s
from tests.integration.daemons import until
from tests.profiles.scripted import Clock


def started(
    program: str, job: bytes = b"", silence_s: float = 10.0, now: Callable[[], float] = time.monotonic
) -> ProfilerProcess[Event]:
    return ProfilerProcess([sys.executable, "-c", program], job, from_line, now=now, silence_s=silence_s)


def heard(process: ProfilerProcess[Event]) -> list[Event]:
    """Everything until it ends."""
    events: list[Event] = []

    def ended() -> bool:
        events.extend(process.read(0.1))
        return process.end is not None

    until("the end of the process", ended)
    return events


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has reaped counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_the_job_arrives_whole_and_the_last_words_are_heard() -> None:
    """A job that is longer than a pipe holds, and more events than one holds, right before the end."""
    program = (
        "import sys; n = len(sys.stdin.buffer.read())\n"
        """print('{"event": "begun", "digest": "%d"}' % n, flush=True)\n"""
        """print('{"event": "begun", "digest": "%s"}' % ('x' * 1000000))"""
    )
    with started(program, job=b"j" * 3_000_000) as process:
        events = heard(process)
    assert events == [Begun("3000000"), Begun("x" * 1_000_000)]
    assert process.end is not None
    assert (process.end.code, process.end.silent_s) == (0, None)


def test_how_it_ended_is_told_with_what_it_said_last() -> None:
    program = "import os, sys; sys.stderr.write('a' * 9999 + 'corrupt heap'); sys.stderr.flush(); os.abort()"
    with started(program) as process:
        heard(process)
    assert process.end is not None
    assert process.end.code == -signal.SIGABRT
    assert process.end.said.endswith("aaa" + "corrupt heap")
    assert len(process.end.said) <= 4096


def test_one_that_is_silent_is_killed_with_what_it_started() -> None:
    """Lines that are no events are silence; the child that it has started holds its pipes open and dies too."""
    program = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        """print('{"event": "begun", "digest": "%d"}' % child.pid, flush=True)\n"""
        "while True: print('loading', flush=True); time.sleep(0.01)"
    )
    with started(program, silence_s=1.0) as process:
        (event,) = heard(process)
    assert process.end is not None
    assert (process.end.code, process.end.silent_s) == (-signal.SIGKILL, 1.0)
    assert isinstance(event, Begun)
    child = int(event.digest or 0)
    until("the end of the child", lambda: gone(child))


def test_what_it_leaves_behind_ends_with_it() -> None:
    program = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        """print('{"event": "begun", "digest": "%d"}' % child.pid, flush=True)"""
    )
    with started(program) as process:
        (event,) = heard(process)
    assert isinstance(event, Begun)
    child = int(event.digest or 0)
    until("the end of the child", lambda: gone(child))


def test_any_thread_may_kill_it_at_any_time() -> None:
    """Also when it has ended, and more than once."""
    with started("import time; time.sleep(60)") as process:
        process.kill()
        heard(process)
        process.kill()
    process.kill()
    assert process.end is not None
    assert process.end.code == -signal.SIGKILL


def test_leaving_it_kills_what_runs() -> None:
    program = (
        "import os, time\n"
        """print('{"event": "begun", "digest": "%d"}' % os.getpid(), flush=True)\n"""
        "time.sleep(60)"
    )
    with started(program) as process:
        events: list[Event] = []
        until("its first event", lambda: events.extend(process.read(0.1)) or events)
    (event,) = events
    assert isinstance(event, Begun)
    assert gone(int(event.digest or 0))


def test_the_time_that_it_waits_for_a_core_is_no_silence(tmp_path: Path) -> None:
    """A board that is busy with other things runs nothing of a process in the background for a long time."""
    clock = Clock()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with ProfilerProcess(command, b"", from_line, now=clock, silence_s=10.0, proc=tmp_path) as process:
        folder = tmp_path / str(process.pid)
        folder.mkdir()
        (folder / "schedstat").write_text("5000000000 90000000000 42\n")
        clock.now_s += 100.0
        process.read(0.0)
        assert process.end is None
        clock.now_s += 100.0
        process.read(0.0)
        assert process.end is not None
    assert process.end.silent_s == START_FACTOR * 10.0


def test_a_kernel_that_does_not_tell_of_waiting_counts_none(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "schedstat").write_text("garbage")
    assert core_wait_s(7, tmp_path) == core_wait_s(8, tmp_path) == 0.0


def test_a_command_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        ProfilerProcess(["/no-such-program"], b"", from_line, now=time.monotonic)
