"""The far end of a probe, on a real socket: what it counts, and whom it does not let hold it up."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from schedulerd.clock import SystemClock
from schedulerd.peer_server import MAX_CONNECTIONS, PeerServer, listen
from schedulerd.wire.peer import GREETING, MAX_BYTES, Arrived
from tests.fakes import PATIENCE_S


@contextlib.contextmanager
def serving(limit_s: float = PATIENCE_S) -> Iterator[tuple[str, int]]:
    """The address of a server; it allows a slow machine much time."""
    listener = listen("127.0.0.1", 0)
    address: tuple[str, int] = listener.getsockname()
    server = PeerServer(listener, SystemClock(), limit_s)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield address
    server.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, PATIENCE_S)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server ends."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with serving() as at:
        yield at


def probed(address: tuple[str, int], sent: bytes) -> Arrived:
    with connected(address) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        greeting, _, answer = everything(client).partition(b"\n")
        assert greeting + b"\n" == GREETING
        return Arrived.of_line(answer)


def serves(address: tuple[str, int]) -> bool:
    """Once it has noticed that others have left, it does."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        with contextlib.suppress(AssertionError, OSError):
            return probed(address, b"x") == Arrived(0, 0)
        time.sleep(0.01)
    return False


def test_it_counts_what_comes_after_its_first_read(address: tuple[str, int]) -> None:
    arrived = probed(address, bytes(200_000))
    assert 200_000 - 65536 <= arrived.size_bytes < 200_000
    assert arrived.took_us > 0


def test_one_byte_has_no_time(address: tuple[str, int]) -> None:
    assert probed(address, b"x") == Arrived(0, 0)


def test_a_client_that_says_nothing_and_goes_gets_a_greeting_only(address: tuple[str, int]) -> None:
    with connected(address) as client:
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == GREETING


def test_a_client_that_sends_more_than_is_counted_has_its_answer(address: tuple[str, int]) -> None:
    assert MAX_BYTES <= probed(address, bytes(600_000)).size_bytes < MAX_BYTES + 65536


def test_a_client_that_sends_without_end_is_cut_off(address: tuple[str, int]) -> None:
    def send_for_ever(client: socket.socket) -> None:
        while True:
            client.sendall(bytes(65536))

    with connected(address) as client, pytest.raises(ConnectionError):
        send_for_ever(client)
    assert serves(address)


def test_a_client_that_does_not_end_is_answered_when_its_time_is_up() -> None:
    with serving(limit_s=0.05) as address, connected(address) as client:
        client.sendall(b"x")
        lines = client.makefile("rb")
        assert lines.readline() == GREETING
        assert Arrived.of_line(lines.readline()).size_bytes == 0
        lines.close()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"999999999 0\n", b"\xff" * 999]
)
def test_bytes_are_counted_and_never_read(address: tuple[str, int], garbage: bytes) -> None:
    assert probed(address, garbage).size_bytes < len(garbage)


def test_clients_that_come_and_go_do_not_end_it(address: tuple[str, int]) -> None:
    for _ in range(3 * MAX_CONNECTIONS):
        connected(address).close()
    assert serves(address)


def test_more_than_there_is_room_for_are_closed_without_a_greeting(address: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            silent = stack.enter_context(connected(address))
            assert silent.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        with connected(address) as one_too_many:
            assert everything(one_too_many) == b""
    assert serves(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_it_listens_where_it_is_told(host: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with listener, connected(listener.getsockname()[:2]):
        pass


def test_a_port_that_is_taken_is_said() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
