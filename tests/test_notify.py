"""Notifying the service manager, over real datagram sockets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd.errors import ConfigError
from schedulerd.notify import Notifier, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address as it is in NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@schedulerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, address


def test_every_state_arrives_as_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    notifier = Notifier(address)
    assert notifier.ready("serving 3 models")
    assert listener.recv(4096) == b"READY=1\nSTATUS=serving 3 models"
    assert notifier.status("plan 7")
    assert listener.recv(4096) == b"STATUS=plan 7"
    assert notifier.watchdog()
    assert listener.recv(4096) == b"WATCHDOG=1"
    assert notifier.stopping("draining")
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=draining"


def test_a_start_that_takes_long_asks_for_patience(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    assert Notifier(address).starting("measuring, 40% done", 1.5)
    assert listener.recv(4096) == b"STATUS=measuring, 40% done\nEXTEND_TIMEOUT_USEC=1500000"


def test_a_reload_says_when_it_began_as_the_manager_counts_time(manager: tuple[socket.socket, str]) -> None:
    """Type=notify-reload passes over a RELOADING=1 from before its own signal, by CLOCK_MONOTONIC."""
    listener, address = manager
    before_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert Notifier(address).reloading("reading the\nconfiguration")
    after_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, moment, status = listener.recv(4096).decode().split("\n")
    assert (first, status) == ("RELOADING=1", "STATUS=reading the configuration")
    name, _, usec = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_usec <= int(usec) <= after_usec


def test_a_status_of_many_lines_cannot_forge_another_state(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    Notifier(address).status("one\nREADY=1")
    assert listener.recv(4096) == b"STATUS=one READY=1"


def test_without_a_service_manager_nothing_is_sent() -> None:
    notifier = Notifier(None)
    assert not notifier.ready("serving")
    assert not notifier.watchdog()


def test_a_service_manager_that_is_gone_is_no_reason_to_stop(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "gone")).ready("serving")


def test_a_service_manager_that_does_not_read_never_blocks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        sent = [notifier.watchdog() for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1], "its queue is full, and we went on"


def test_that_it_is_ready_waits_for_a_manager_that_is_busy(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        notifier = Notifier(str(tmp_path / "notify"))
        while notifier.status("busy"):
            pass
        reader = threading.Timer(0.05, listener.recv, (4096,))
        reader.start()
        assert notifier.ready("serving"), "there was room again in time"
        reader.join()
        assert not notifier.ready("serving"), "nobody reads any more, and we went on"


@pytest.mark.parametrize("address", ["notify", "vsock:2:1234", ""])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="neither a path nor an abstract socket"):
        Notifier(address)


def test_the_watchdog_is_fed_twice_as_often_as_it_wants() -> None:
    assert watchdog_interval_s(10.0) == 5.0
    assert watchdog_interval_s(None) is None
