"""The door: bytes pass both ways, and no more connections than it has room for."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from schedulerd.clock import Clock, SystemClock
from schedulerd.errors import ConfigError
from schedulerd.serving.door import Door, Limits
from tests.fakes import PATIENCE_S, FakeClock

BYTES = bytes(range(256)) * 4096
"""More than a socket holds."""


class House:
    """Two AF_UNIX sockets behind a door; what is connected to the first is sent back to where it came from."""

    def __init__(self, directory: Path, limits: Limits, clock: Clock) -> None:
        self.paths = directory / "first", directory / "second"
        self.listeners = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in self.paths]
        for listener, path in zip(self.listeners, self.paths, strict=True):
            listener.bind(str(path))
            listener.listen(64)
            listener.settimeout(PATIENCE_S)
        self.door = Door("127.0.0.1:0", clock, limits)
        self.door.open(*self.paths)
        self._sockets: list[socket.socket] = []

    def come(self, which: int = 0) -> socket.socket:
        """A connection from outside."""
        outside = socket.create_connection(("127.0.0.1", self.door.port + which), PATIENCE_S)
        outside.settimeout(PATIENCE_S)
        self._sockets.append(outside)
        return outside

    def meet(self, which: int = 0) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection."""
        outside = self.come(which)
        return outside, self.answer(which)

    def answer(self, which: int = 0) -> socket.socket:
        """The inner end of the next connection."""
        inside, _ = self.listeners[which].accept()
        inside.settimeout(PATIENCE_S)
        self._sockets.append(inside)
        return inside

    def close(self) -> None:
        for one in self._sockets:
            one.close()
        self.door.close(PATIENCE_S)
        for listener in self.listeners:
            listener.close()


@contextmanager
def housed(
    directory: Path,
    limits: Limits = Limits(a_second=1000.0),  # noqa: B008
    clock: Clock | None = None,
) -> Iterator[House]:
    house = House(directory, limits, clock or SystemClock())
    try:
        yield house
    finally:
        house.close()


def all_of(source: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        content += source.recv(count - len(content)) or pytest.fail("it ended early")
    return bytes(content)


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends it, in time."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_bytes_pass_both_ways_however_many_and_however_slowly_they_are_read(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        outside, inside = house.meet()
        senders = [threading.Thread(target=one.sendall, args=(BYTES,)) for one in (outside, inside)]
        for sender in senders:
            sender.start()
        assert all_of(inside, len(BYTES)) == BYTES
        assert all_of(outside, len(BYTES)) == BYTES
        for sender in senders:
            sender.join(PATIENCE_S)


def test_each_port_leads_to_its_own_socket(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        for which in (0, 1):
            outside, inside = house.meet(which)
            outside.sendall(b"hello")
            assert all_of(inside, 5) == b"hello"


def test_the_end_of_one_side_is_the_end_of_the_other_and_what_was_said_before_arrives(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        outside, inside = house.meet()
        inside.sendall(b"last words")
        inside.close()
        assert all_of(outside, 10) == b"last words"
        assert ended(outside)
        outside, inside = house.meet()
        outside.close()
        assert ended(inside)


def test_what_was_said_before_the_daemon_ended_arrives(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        pairs = [house.meet() for _ in range(4)]
        for _, inside in pairs:
            inside.sendall(BYTES[:100_000])
            inside.close()
        house.door.close(PATIENCE_S)
        for outside, _ in pairs:
            assert all_of(outside, 100_000) == BYTES[:100_000]
            assert ended(outside)


def test_one_who_does_not_read_is_not_kept_for_ever_and_costs_others_nothing(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        deaf, inside = house.meet()
        inside.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while inside.send(BYTES):
                pass
        other, other_inside = house.meet()
        other.sendall(b"hello")
        assert all_of(other_inside, 5) == b"hello"
        inside.close()  # as libzmq does where no heartbeat comes
        house.door.hang_up(0)
        assert ended(other)
        deaf.close()


def test_no_more_than_so_many_come_from_one_address(tmp_path: Path) -> None:
    with housed(tmp_path, Limits(most=8, most_of_one=2, a_second=1000.0)) as house:
        pairs = [house.meet() for _ in range(2)]
        with structlog.testing.capture_logs() as logs:
            assert ended(house.come())
            assert ended(house.come())
        (told,) = (log for log in logs if log["event"] == "remote_refused")
        assert (told["reason"], told["lately_from"]) == ("its address has 2 connections already", ["127.0.0.1"])
        pairs[0][0].close()
        assert ended(pairs[0][1])
        outside, inside = house.meet()
        outside.sendall(b"hello")
        assert all_of(inside, 5) == b"hello"


@contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    """So many may still be opened in this process."""
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(descriptors + 1)]
    for one in opened:
        os.close(one)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_comes_when_no_descriptor_is_left_costs_others_nothing(tmp_path: Path) -> None:
    with housed(tmp_path) as house, structlog.testing.capture_logs() as logs:
        outside, inside = house.meet()
        # One is that of the test's own end, one that of the door's; there is none for the way on.
        with room_for(2):
            assert ended(house.come())
        outside.sendall(b"hello")
        assert all_of(inside, 5) == b"hello"
        assert [(log["event"], log["reason"]) for log in logs] == [("remote_not_served", "Too many open files")]


def test_who_comes_when_all_places_are_taken_waits_for_one(tmp_path: Path) -> None:
    with housed(tmp_path, Limits(most=2, most_of_one=8, a_second=1000.0)) as house:
        pairs = [house.meet() for _ in range(2)]
        waiting = house.come()
        waiting.sendall(b"hello")
        pairs[0][0].sendall(b"I am still here")
        assert all_of(pairs[0][1], 15) == b"I am still here"
        house.listeners[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            house.listeners[0].accept()
        house.listeners[0].settimeout(PATIENCE_S)
        pairs[0][0].close()
        inside = house.answer()
        assert all_of(inside, 5) == b"hello"


def test_a_crowd_comes_in_one_after_the_other(tmp_path: Path) -> None:
    clock = FakeClock()
    with housed(tmp_path, Limits(a_second=10.0, at_once=2), clock) as house:
        first, inside = house.meet()
        house.meet()
        late = house.come()
        for word in (b"still", b"there"):
            # The door has come round since.
            first.sendall(word)
            assert all_of(inside, 5) == word
        house.listeners[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            house.listeners[0].accept()
        house.listeners[0].settimeout(PATIENCE_S)
        clock.advance(0.1)
        late.sendall(b"hello")
        assert all_of(house.answer(), 5) == b"hello"
        clock.advance(10.0)


def test_hanging_up_ends_all_and_the_next_may_come(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        pairs = [house.meet(which) for which in (0, 1)]
        for which, (outside, inside) in enumerate(pairs):
            outside.sendall(b"hello")
            assert all_of(inside, 5) == b"hello"
            house.door.hang_up(which)
            assert ended(outside)
            assert ended(inside)
        outside, inside = house.meet()
        outside.sendall(b"hello")
        assert all_of(inside, 5) == b"hello"


def test_a_socket_that_is_gone_behind_it_ends_the_connection(tmp_path: Path) -> None:
    with housed(tmp_path) as house:
        house.paths[0].unlink()
        assert ended(house.come())
        outside, inside = house.meet(1)
        outside.sendall(b"hello")
        assert all_of(inside, 5) == b"hello"


def test_a_port_that_is_taken_is_refused_with_the_remedy_and_nothing_is_left_open() -> None:
    clock = SystemClock()
    first = Door("127.0.0.1:0", clock)
    for port in (first.port, first.port + 1):
        with pytest.raises(ConfigError, match=rf"cannot listen at 127\.0\.0\.1 port {port}: Address already in use"):
            Door(f"127.0.0.1:{port}", clock)
    with pytest.raises(ConfigError, match="cannot listen"):
        # Its second port is taken; the first is free again afterwards.
        Door(f"127.0.0.1:{first.port - 1}", clock)
    first.close(PATIENCE_S)
    first.close(PATIENCE_S)
    again = Door(f"127.0.0.1:{first.port}", clock)
    again.close(PATIENCE_S)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:65535", "port 65535 has none after it"),
        ("192.0.2.1:9478", r"cannot listen at 192\.0\.2\.1 port 9478"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[remote\] listen: {why}"):
        Door(address, SystemClock())


def test_it_listens_to_newer_addresses_too() -> None:
    try:
        door = Door("[::1]:0", SystemClock())
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    assert door.address == f"[::1]:{door.port}"
    door.close(PATIENCE_S)
