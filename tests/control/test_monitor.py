"""The monitor: what fails is named and asked again later, what remains is read."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from structlog.testing import capture_logs

from schedulerd.clock import SystemClock
from schedulerd.config import BoardConfig
from schedulerd.control.monitor import Monitor
from schedulerd.control.snapshot import Origin, Unread
from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.base import Readings
from tests.fakes import PATIENCE_S, FakeClock

GONE = FileNotFoundError(2, "No such file or directory", "/sys/gone")


class _FakeSource:
    """Answers what it was given, or raises it; counts how often it is asked."""

    def __init__(self, name: str, answer: Readings | Exception, every_s: float = 0.0) -> None:
        self.name = name
        self.every_s = every_s
        self.answer = answer
        self.asked = 0

    def read(self) -> Readings:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_source_that_fails_is_named_and_the_others_are_read() -> None:
    monitor = Monitor(
        [
            _FakeSource("processor", PermissionError(13, "Permission denied", "/proc/stat")),
            _FakeSource("memory", {"memory_total_bytes": 10, "memory_available_bytes": 5}),
        ],
        FakeClock(7.0),
    )
    snapshot = monitor.look()
    reason = "PermissionError: [Errno 13] Permission denied: '/proc/stat'"
    assert snapshot.unread == (Unread("processor", reason, since_s=7.0, retry_at_s=8.0),)
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
    snapshot = Monitor(sources, FakeClock()).look()
    assert snapshot.memory_available_bytes == available
    origin = snapshot.origins.get("memory_available_bytes")
    assert (origin and origin.source) == (available and ("cgroup" if available == cgroup else "memory"))


def test_each_reading_says_where_it_comes_from_and_how_old_it_is() -> None:
    clock = FakeClock(100.0)
    seldom = _FakeSource("battery", {"power_w": 3.0, "battery": None}, every_s=10.0)
    often = _FakeSource("memory", {"memory_total_bytes": 8})
    monitor = Monitor([seldom, often], clock)
    monitor.look()
    clock.advance(9.5)
    snapshot = monitor.look()
    assert snapshot.origins == {"power_w": Origin("battery", 100.0), "memory_total_bytes": Origin("memory", 109.5)}
    assert (snapshot.age_s("power_w"), snapshot.age_s("memory_total_bytes")) == (9.5, 0.0)
    assert snapshot.age_s("battery") is None
    assert (snapshot.power_w, seldom.asked, often.asked) == (3.0, 1, 2)


def test_a_source_is_asked_again_when_its_time_has_passed() -> None:
    clock = FakeClock()
    source = _FakeSource("power", {"power_w": 3.0}, every_s=1.0)
    monitor = Monitor([source], clock)
    for _ in range(11):
        monitor.look()
        clock.advance(0.25)
    assert source.asked == 3
    source.answer = {"power_w": None}
    clock.advance(1.0)
    assert monitor.look().power_w is None, "what it no longer says is not kept"


def test_what_fails_is_none_at_once_and_asked_again_later_and_later() -> None:
    clock = FakeClock(1000.0)
    source = _FakeSource("power", {"power_w": 3.0})
    monitor = Monitor([source], clock)
    assert monitor.look().power_w == 3.0
    source.answer, source.asked = GONE, 0
    tried_s: list[float] = []
    begun_s = clock.now_s()
    for _ in range(4 * 200):
        asked = source.asked
        snapshot = monitor.look()
        if source.asked > asked:
            tried_s.append(clock.now_s() - begun_s)
        assert snapshot.power_w is None
        assert "power_w" not in snapshot.origins
        assert snapshot.unread[0].since_s == begun_s
        assert clock.now_s() < snapshot.unread[0].retry_at_s <= clock.now_s() + 60.0
        clock.advance(0.25)
    assert tried_s == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0]


def test_what_is_read_again_begins_anew() -> None:
    clock = FakeClock(1000.0)
    source = _FakeSource("power", GONE)
    monitor = Monitor([source], clock)
    for _ in range(40):
        monitor.look()
        clock.advance(0.25)
    source.answer = {"power_w": 3.0}
    clock.advance(60.0)
    snapshot = monitor.look()
    assert (snapshot.power_w, snapshot.unread) == (3.0, ())
    source.answer = ValueError("garbage")
    clock.advance(1.0)
    again = Unread("power", "ValueError: garbage", clock.now_s(), clock.now_s() + 1.0)
    assert monitor.look().unread == (again,)


@pytest.mark.parametrize("jump_s", [-400 * 86400.0, 400 * 86400.0])
@pytest.mark.parametrize("answer", [GONE, {"power_w": 3.0}], ids=["failing", "well"])
def test_no_source_is_silenced_by_a_clock_that_jumps(answer: Readings | Exception, jump_s: float) -> None:
    clock = FakeClock(1e9)
    source = _FakeSource("power", answer, every_s=5.0)
    monitor = Monitor([source], clock)
    for _ in range(100):
        monitor.look()
        clock.advance(1.0)
    for jump in (jump_s, -jump_s):
        clock.advance(jump)
        asked = source.asked
        snapshot = monitor.look()
        assert source.asked == asked + 1
        assert all(now.since_s <= clock.now_s() < now.retry_at_s <= clock.now_s() + 60 for now in snapshot.unread)
        clock.advance(60.0)
        monitor.look()
        assert source.asked == asked + 2


def test_a_failure_is_logged_when_it_begins_and_when_it_is_over() -> None:
    clock = FakeClock()
    source = _FakeSource("power", GONE)
    monitor = Monitor([source], clock)
    with capture_logs() as logs:
        for _ in range(40):
            monitor.look()
            clock.advance(0.25)
        source.answer = {}
        clock.advance(20.0)
        monitor.look()
        monitor.look()
    assert [(line["event"], line["source"]) for line in logs] == [("source_unread", "power"), ("source_back", "power")]
    assert (logs[0]["reason"], logs[1]["after_s"]) == (f"FileNotFoundError: {GONE}", 30.0)


def test_a_source_that_comes_and_goes_does_not_fill_the_log() -> None:
    clock = FakeClock()
    source = _FakeSource("power", {})
    monitor = Monitor([source], clock)
    with capture_logs() as logs:
        for number in range(50):
            source.answer = GONE if number % 2 else {}
            monitor.look()
            clock.advance(1.0)
    assert [line["event"] for line in logs] == ["source_unread", "source_back"]


def test_readings_of_a_source_aside_are_as_old_as_its_read() -> None:
    clock = FakeClock(50.0)
    read = threading.Event()
    aside = Aside(_Late(read), clock)
    monitor = Monitor([aside], clock)
    assert monitor.look().power_w is None, "nothing has been read yet, and nobody waits"
    clock.advance(2.0)
    read.set()
    until_s = time.monotonic() + PATIENCE_S
    while (snapshot := monitor.look()).power_w is None:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    assert snapshot.origins["power_w"] == Origin("late", 50.0)
    monitor.close()
    with pytest.raises(ValueError, match="late is closed"):
        aside.read()


class _Late:
    """Answers once it is let."""

    name = "late"
    every_s = 10.0

    def __init__(self, read: threading.Event) -> None:
        self._read = read

    def read(self) -> Readings:
        assert self._read.wait(PATIENCE_S)
        return {"power_w": 3.0}


def test_a_clock_that_jumps_by_400_days_leaves_shares_within_bounds() -> None:
    clock = FakeClock()
    monitor = Monitor.of_this_machine(clock, BoardConfig())
    monitor.look()
    clock.advance(400 * 86400)
    snapshot = monitor.look()
    assert snapshot.cpu_own is not None
    assert 0 <= snapshot.cpu_own <= 1


def test_this_machine_is_read() -> None:
    snapshot = Monitor.of_this_machine(SystemClock(), BoardConfig()).look()
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
