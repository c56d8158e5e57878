"""The monitor: what fails is named, what remains is read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schedulerd.clock import SystemClock
from schedulerd.control.monitor import Monitor
from schedulerd.control.snapshot import Unread
from schedulerd.control.sources.base import Readings
from tests.fakes import FakeClock

CAPTURED = Path(__file__).resolve().parents[1] / "proc"


class _FakeSource:
    """Answers what it was given, or raises it."""

    def __init__(self, name: str, answer: Readings | Exception) -> None:
        self.name = name
        self._answer = answer

    def read(self) -> Readings:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_a_source_that_fails_is_named_and_the_others_are_read() -> None:
    monitor = Monitor(
        [
            _FakeSource("processor", PermissionError(13, "Permission denied", "/proc/stat")),
            _FakeSource("memory", {"memory_total_bytes": 10, "memory_available_bytes": 5}),
        ],
        FakeClock(7.0),
    )
    snapshot = monitor.look()
    assert snapshot.unread == (Unread("processor", "PermissionError: [Errno 13] Permission denied: '/proc/stat'"),)
    assert (snapshot.memory_total_bytes, snapshot.memory_available_bytes) == (10, 5)
    assert snapshot.cpu_busy is None
    assert snapshot.at_s == 7.0


def test_what_a_source_could_not_read_is_none_and_not_zero() -> None:
    snapshot = Monitor([_FakeSource("memory", {"memory_total_bytes": None})], FakeClock()).look()
    assert snapshot.memory_total_bytes is None
    assert snapshot.unread == ()


def test_a_board_without_readable_sources_still_makes_a_snapshot() -> None:
    snapshot = Monitor([], FakeClock()).look()
    assert snapshot.cpu_count >= 1
    assert snapshot.cpu_others is None


@pytest.mark.parametrize(("nice", "others"), [(None, 0.5), (0.4, 0.1), (0.6, 0.0)])
def test_others_are_those_that_do_not_make_way(nice: float | None, others: float) -> None:
    readings = {"cpu_busy": 0.75, "cpu_own": 0.25, "cpu_nice": nice}
    snapshot = Monitor([_FakeSource("processor", readings)], FakeClock()).look()
    assert snapshot.cpu_others == pytest.approx(others)


@pytest.mark.parametrize(
    ("meminfo", "cgroup", "available"),
    [(100, 40, 40), (30, 40, 30), (None, 40, 40), (30, None, 30), (None, None, None)],
)
def test_available_memory_is_the_stricter_of_board_and_cgroup(
    meminfo: int | None, cgroup: int | None, available: int | None
) -> None:
    sources = [
        _FakeSource("memory", {"memory_available_bytes": meminfo}),
        _FakeSource("cgroup", {"memory_cgroup_bytes": cgroup}),
    ]
    assert Monitor(sources, FakeClock()).look().memory_available_bytes == available


def test_a_captured_board_is_read_whole(tmp_path: Path) -> None:
    proc = Path(shutil.copytree(CAPTURED, tmp_path / "proc"))
    shutil.copy(proc / "self" / "cgroup.v2", proc / "self" / "cgroup")
    monitor = Monitor.of_this_machine(FakeClock(), proc, proc / "cgroup_v2")
    monitor.look()
    shutil.copy(proc / "stat.later", proc / "stat")
    snapshot = monitor.look()
    assert snapshot.unread == ()
    assert snapshot.cpu_count == 2
    assert snapshot.cpu_busy == pytest.approx(0.5025, abs=1e-4)
    assert snapshot.memory_available_bytes == snapshot.memory_cgroup_bytes == 140_000_000
    assert snapshot.memory_own_bytes is not None


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize("spoil", [Path.unlink, _empty, _noise], ids=["gone", "empty", "noise"])
@pytest.mark.parametrize("file", ["stat", "meminfo", "self/cgroup"])
def test_files_that_vanish_or_hold_garbage_never_stop_a_look(
    tmp_path: Path, file: str, spoil: Callable[[Path], None]
) -> None:
    proc = Path(shutil.copytree(CAPTURED, tmp_path / "proc"))
    shutil.copy(proc / "self" / "cgroup.v2", proc / "self" / "cgroup")
    monitor = Monitor.of_this_machine(FakeClock(), proc, proc / "cgroup_v2")
    monitor.look()
    spoil(proc / file)
    snapshot = monitor.look()
    assert snapshot.memory_own_bytes is not None, "the rest stands"
    assert len(snapshot.unread) <= 1


def test_a_clock_that_jumps_by_400_days_leaves_shares_within_bounds() -> None:
    clock = FakeClock()
    monitor = Monitor.of_this_machine(clock)
    monitor.look()
    clock.advance(400 * 86400)
    snapshot = monitor.look()
    assert snapshot.cpu_own is not None
    assert 0 <= snapshot.cpu_own <= 1


def test_this_machine_is_read() -> None:
    snapshot = Monitor.of_this_machine(SystemClock()).look()
    assert snapshot.unread == ()
    assert snapshot.memory_total_bytes is not None
    assert snapshot.memory_available_bytes is not None
    assert 0 < snapshot.memory_available_bytes <= snapshot.memory_total_bytes


def test_importing_the_monitor_starts_nothing_and_stays_light() -> None:
    check = (
        "import threading, sys, schedulerd.control.monitor; "
        "assert threading.active_count() == 1; "
        "assert not {'torch', 'onnxruntime', 'pulp', 'zmq'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
