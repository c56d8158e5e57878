"""Sensors at a moment, and a board's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.config import LimitsConfig
from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.memory import MemorySource
from schedulerd.scenes.board import Board, Use
from schedulerd.scenes.memory import PlayedMemory
from schedulerd.scenes.script import Ramp, Restore
from schedulerd.scenes.sensors import Sensors
from schedulerd.scenes.tracks import Room, Slope, Tracks, Warmth

MB = 10**6
LIMITS = LimitsConfig(memory_share=1.0, memory_reserve_bytes=16 * MB)


def test_a_slope_goes_evenly_from_one_value_to_the_other() -> None:
    slope = Slope(10.0, 4.0, 1.5, 0.5)
    assert [slope.at(s) for s in (9.0, 10.0, 11.0, 14.0, 99.0)] == [1.5, 1.5, 1.25, 0.5, 0.5]
    assert slope.reaches_s(1.0) == 12.0
    assert (slope.reaches_s(2.0), slope.reaches_s(0.1)) == (10.0, 14.0)
    assert Slope(10.0, 0.0, 1.0, 1.0).reaches_s(1.0) == 10.0


def test_a_ramp_begins_where_its_sensor_stands() -> None:
    tracks = Tracks(frozenset(("clock",)))
    tracks.begin(Ramp("clock", 0.5, over_s=10.0), 0.0)
    assert tracks.begin(Ramp("clock", 1.0, over_s=1.0), 5.0).start == 0.75
    assert tracks.moved("clock")
    tracks.restore(Restore("clock"))
    assert (tracks.at("clock", 5.5), tracks.moved("clock")) == (1.0, False)


def test_room_is_what_the_daemon_makes_of_it() -> None:
    """The daemon's own formula, backwards: free memory and what its blocks hold, less the reserve, or a share of it."""
    room = Room(20 * MB, 12 * MB, 100 * MB, LIMITS)
    available = room.total_bytes(0.6) - 100 * MB
    assert available + 12 * MB - LIMITS.memory_reserve_bytes == pytest.approx(0.6 * 20 * MB)
    halved = Room(200 * MB, 12 * MB, 100 * MB, LimitsConfig(memory_share=0.5, memory_reserve_bytes=16 * MB))
    assert 0.5 * (halved.total_bytes(1.0) - 100 * MB + 12 * MB) == pytest.approx(200 * MB)


def test_a_zone_tends_to_what_its_surroundings_and_its_work_come_to() -> None:
    warmth = Warmth(per_core_c=40.0, heats_up_s=10.0)
    assert warmth.after(0.0, 25.0, 0.0) == 25.0
    assert warmth.after(10.0, 25.0, 1.0) == pytest.approx(65.0 - 40.0 / 2.718281828, abs=1e-6)
    assert warmth.after(1000.0, 25.0, 0.5) == pytest.approx(45.0)


class Daemon:
    """What a board asks of one."""

    def __init__(self) -> None:
        self.rss_bytes = 100 * MB
        self.cpu_s = 0.0

    def board(self, folder: Path, *played: str) -> tuple[Board, Sensors]:
        sensors = Sensors(folder, frozenset(played), trip_c=80.0, cores=1)
        memory = PlayedMemory(sensors, None, lambda: self.rss_bytes)
        warmth = Warmth(40.0, 10.0)
        board = Board(
            frozenset(played), sensors, memory, LIMITS, lambda: Use(20 * MB, 22 * MB), lambda: self.cpu_s, warmth
        )
        return board, sensors


def test_what_the_daemon_frees_is_free(tmp_path: Path) -> None:
    """A played board answers as a real one: its memory is given, and what nobody holds any more is available."""
    daemon = Daemon()
    board, sensors = daemon.board(tmp_path, "memory")
    proc = Path(sensors.roots()["proc"])
    board.begin(Ramp("memory", 0.5, start=1.0, over_s=10.0), 0.0)
    board.tick(10.0)
    before = MemorySource(proc).read()["memory_available_bytes"]
    daemon.rss_bytes -= 8 * MB
    board.tick(10.1)
    assert MemorySource(proc).read()["memory_available_bytes"] == pytest.approx(before + 8 * MB, abs=2048)
    assert board.start_use_bytes == 20 * MB
    board.restore(Restore("memory"))
    board.tick(10.2)
    assert (proc / "meminfo").resolve() == Path("/proc/meminfo")


def test_a_limit_that_is_exceeded_is_counted_once_each_time(tmp_path: Path) -> None:
    daemon = Daemon()
    board, sensors = daemon.board(tmp_path, "cgroup")
    roots = sensors.roots()
    board.begin(Ramp("cgroup", 0.6, start=1.5, over_s=10.0), 0.0)
    board.tick(10.0)
    left = CgroupSource(Path(roots["proc"]), Path(roots["cgroup"])).read()["memory_cgroup_bytes"]
    assert left == pytest.approx(0.6 * 20 * MB + 16 * MB - 22 * MB)
    assert board.out_of_memory == 0
    for rss_bytes in (120 * MB, 121 * MB, 100 * MB, 130 * MB):
        daemon.rss_bytes = rss_bytes
        board.tick(11.0)
    assert board.out_of_memory == 2


def test_work_warms_the_zone(tmp_path: Path) -> None:
    daemon = Daemon()
    board, sensors = daemon.board(tmp_path, "ambient")
    zone = Path(sensors.roots()["sys"]) / "class" / "thermal" / "thermal_zone0" / "temp"
    for second in range(100):
        daemon.cpu_s = 0.5 * second
        board.tick(float(second))
    assert int(zone.read_text()) / 1e3 == pytest.approx(25.0 + 20.0, abs=0.1)
    assert board.values(99.0)["temperature"] == pytest.approx(45.0, abs=0.1)
