"""Boards as a whole: what each source makes of one that has everything, of a bare one, and of one that is spoilt."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import pytest

from schedulerd.control.monitor import Monitor
from schedulerd.control.readings import Stall
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.board import Programs, sources_of
from tests.control.sources.trees import add_program, refuse, write
from tests.control.whole_board import SYS, bare_board, whole_board
from tests.fakes import PATIENCE_S, FakeClock

NOT_READ = {"at_s", "unread", "origins"}
"""Fields of a snapshot that the monitor itself fills."""
OWN = "system.slice/schedulerd.service"
STALLS = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\n"
READERS = {
    "stat": {"processor", "cores"},
    "meminfo": {"memory"},
    "self/cgroup": {"cgroup", "pressure"},
    "cgroups": {"cgroup"},
    "pressure/memory": {"pressure"},
    "net/dev": {"network"},
}
"""Sources by the file that they read."""


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def test_a_captured_board_is_read_whole(tmp_path: Path) -> None:
    clock, board = FakeClock(), bare_board(tmp_path)
    monitor = Monitor.of_this_machine(clock, board)
    monitor.look()
    shutil.copy(board.proc / "stat.later", board.proc / "stat")
    clock.advance(1.0)
    snapshot = monitor.look()
    assert snapshot.unread == ()
    assert snapshot.cpu_count == 2
    assert snapshot.cpu_busy == pytest.approx(0.5025, abs=1e-4)
    assert snapshot.memory_available_bytes == snapshot.memory_cgroup_bytes == 140_000_000
    assert snapshot.memory_own_bytes is not None


def test_a_board_that_has_everything_fills_every_field(tmp_path: Path) -> None:
    """Each reading with its source; the peer is a socket of this machine that knows nothing of probes."""
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as listener, closing_each(listener):
        board = whole_board(tmp_path, f"127.0.0.1:{listener.getsockname()[1]}")
        (board.cgroup / OWN / "io.pressure").write_text(STALLS.format(0))
        monitor = Monitor.of_this_machine(clock, board)
        monitor.look()
        shutil.copy(board.proc / "stat.later", board.proc / "stat")
        (board.cgroup / OWN / "io.pressure").write_text(STALLS.format(500_000))
        clock.advance(1.0)
        until_s = time.monotonic() + PATIENCE_S
        while (snapshot := monitor.look()).peer is None:
            assert time.monotonic() < until_s, snapshot.unread
            time.sleep(0.001)
        monitor.close()
    assert snapshot.unread == ()
    names = {field.name for field in fields(Snapshot)} - NOT_READ
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        names.remove("cpu_nice")  # only a process that does not make way can tell
    assert {name for name in names if getattr(snapshot, name) is None} == set()
    assert snapshot.origins.keys() == names
    assert snapshot.power_w == pytest.approx(6.0)
    assert snapshot.pressure is not None
    assert snapshot.pressure.io == Stall(0.5, 0.0)
    assert snapshot.throttle is not None
    assert "heat" in snapshot.throttle.causes


@contextmanager
def closing_each(listener: socket.socket) -> Iterator[None]:
    """Whoever connects is accepted and left."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("spoil", [Path.unlink, _empty, _noise], ids=["gone", "empty", "noise"])
@pytest.mark.parametrize("file", READERS)
def test_files_that_vanish_or_hold_garbage_never_stop_a_look(
    tmp_path: Path, file: str, spoil: Callable[[Path], None]
) -> None:
    clock, board = FakeClock(), whole_board(tmp_path, None)
    monitor = Monitor.of_this_machine(clock, board)
    monitor.look()
    spoil(board.proc / file)
    clock.advance(60.0)
    snapshot = monitor.look()
    assert snapshot.memory_own_bytes is not None, "the rest stands"
    assert {unread.source for unread in snapshot.unread} <= READERS[file]


@pytest.mark.parametrize("spoil", [Path.unlink, _empty, _noise], ids=["gone", "empty", "noise"])
@pytest.mark.parametrize("name", sorted(f"{folder}/{file}" for folder, files in SYS.items() for file in files))
def test_no_sensor_stops_a_look_and_those_of_other_kinds_are_read(
    tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    clock, board = FakeClock(), whole_board(tmp_path, None)
    monitor = Monitor.of_this_machine(clock, board)
    monitor.look()
    spoil(board.sys / name)
    clock.advance(60.0)
    monitor.look()
    clock.advance(1.0)
    snapshot = monitor.look()
    assert snapshot.memory_available_bytes == 140_000_000
    assert len(snapshot.unread) <= 2, snapshot.unread
    read = [snapshot.cores, snapshot.zones, snapshot.rails, snapshot.gpus, snapshot.battery]
    assert sum(value is None for value in read) <= 1, snapshot


@pytest.mark.parametrize("spoil", [_empty, _noise, refuse], ids=["empty", "noise", "refused"])
@pytest.mark.parametrize("name", sorted(f"{folder}/{file}" for folder, files in SYS.items() for file in files))
def test_no_sensor_keeps_a_daemon_from_starting(tmp_path: Path, name: str, spoil: Callable[[Path], object]) -> None:
    """Some are looked at before the first look: what they lack a program may tell."""
    board, program = whole_board(tmp_path, None), add_program(tmp_path, "exit 1")
    spoil(board.sys / name)
    write(board.sys / "firmware/devicetree/base", {"model": "Raspberry Pi 5"})
    spoil(board.sys / "firmware/devicetree/base/model")
    assert list(sources_of(FakeClock(), board, Programs(tegrastats=program, vcgencmd=program)))


def test_what_no_file_tells_a_program_is_asked_for_aside(tmp_path: Path) -> None:
    """The firmware of this Raspberry Pi says that it lowers the clocks; nobody waits for the program that tells."""
    clock, board = FakeClock(), bare_board(tmp_path)
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x4\n")
    program.chmod(0o755)
    monitor = Monitor(sources_of(clock, board, Programs(tegrastats="", vcgencmd=str(program))), clock)
    until_s = time.monotonic() + PATIENCE_S
    while (snapshot := monitor.look()).throttle is None:
        assert time.monotonic() < until_s, snapshot.unread
        time.sleep(0.001)
    monitor.close()
    assert snapshot.throttle.causes == ("heat",)


def test_where_a_board_is_played_no_program_is_asked(tmp_path: Path) -> None:
    asides = [source.name for source in sources_of(FakeClock(), bare_board(tmp_path)) if isinstance(source, Aside)]
    assert asides == []
