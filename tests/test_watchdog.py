"""The watchdog is fed only while every part comes round; over a real datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from schedulerd.notify import Notifier
from schedulerd.watchdog import Watchdog, overdue
from tests.fakes import FakeClock


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


class Parts:
    """Parts that come round when told."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.beats = dict.fromkeys(("control", "gateway", "lane-0", "lane-1"), clock.now_s())

    def come_round(self, *names: str) -> None:
        self.beats.update(dict.fromkeys(names or tuple(self.beats), self._clock.now_s()))


def fed(manager: socket.socket) -> bool:
    try:
        return manager.recv(4096) == b"WATCHDOG=1"
    except BlockingIOError:
        return False


def test_who_was_not_seen_for_half_the_limit_is_overdue() -> None:
    assert overdue({"lane-0": 4.9, "lane-1": 5.0, "gateway": 0.0}, 10.0) == ["lane-1"]


@pytest.mark.parametrize("stuck", ["control", "gateway", "lane-0", "lane-1"])
def test_one_part_that_hangs_starves_the_watchdog(manager: socket.socket, stuck: str) -> None:
    clock = FakeClock()
    parts = Parts(clock)
    watchdog = Watchdog(Notifier(manager.getsockname()), 10.0, lambda: parts.beats, clock)
    watchdog.look()
    assert fed(manager)
    clock.advance(5.0)
    parts.come_round(*(name for name in parts.beats if name != stuck))
    watchdog.look()
    assert not fed(manager)
    parts.come_round()
    watchdog.look()
    assert fed(manager), "it came round after all"


def test_the_journal_says_once_who_was_late(manager: socket.socket) -> None:
    clock = FakeClock()
    parts = Parts(clock)
    with structlog.testing.capture_logs() as logged:
        watchdog = Watchdog(Notifier(manager.getsockname()), 10.0, lambda: parts.beats, clock)
        clock.advance(6.0)
        parts.come_round("control", "lane-0", "lane-1")
        watchdog.look()
        watchdog.look()
        parts.come_round()
        watchdog.look()
    assert [(entry["event"], entry["late"]) for entry in logged] == [
        ("watchdog_not_fed", ["gateway"]),
        ("watchdog_fed_again", []),
    ]


def test_without_a_watchdog_nothing_is_sent(manager: socket.socket) -> None:
    clock = FakeClock()
    Watchdog(Notifier(manager.getsockname()), None, lambda: {"control": 0.0}, clock).look()
    assert not fed(manager)
