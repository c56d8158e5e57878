"""The way to a peer, on loopback: one that takes part, and all the ways not to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from schedulerd.clock import SystemClock
from schedulerd.control.readings import PeerPath
from schedulerd.control.sources.peer import Limits, PeerSource
from schedulerd.peer_server import PeerServer, listen
from schedulerd.wire.peer import GREETING, MAX_BYTES
from tests.fakes import PATIENCE_S

GENEROUS = Limits(PATIENCE_S, PATIENCE_S, PATIENCE_S, PATIENCE_S)
Behaviour = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(behave: Behaviour) -> Iterator[str]:
    """The address of somebody who behaves so on every connection."""
    listener = listen("127.0.0.1", 0)
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            behave(connection)

    def accept() -> None:
        while not ended.is_set():
            threads.append(threading.Thread(target=answer, args=(listener.accept()[0],)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    address = listener.getsockname()
    try:
        yield f"{address[0]}:{address[1]}"
    finally:
        ended.set()
        socket.create_connection(address, PATIENCE_S).close()
        acceptor.join(PATIENCE_S)
        for thread in threads:
            thread.join(PATIENCE_S)
        listener.close()
    assert not any(thread.is_alive() for thread in threads)


def path_to(address: str, limits: Limits = GENEROUS) -> PeerPath:
    readings = PeerSource(address, SystemClock(), limits).read()
    assert readings.keys() == {"peer"}
    path: PeerPath = readings["peer"]
    assert path.peer == address
    assert path.round_trip_ms is not None
    assert path.round_trip_ms > 0
    return path


def drain(connection: socket.socket) -> int:
    size = 0
    while arrived := len(connection.recv(65536)):
        size += arrived
    return size


def test_a_peer_that_takes_part_is_measured() -> None:
    listener = listen("127.0.0.1", 0)
    server = PeerServer(listener, SystemClock(), limit_s=PATIENCE_S)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        path = path_to(f"127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.close()
        thread.join(PATIENCE_S)
    assert path.reason is None
    assert path.bandwidth_bps is not None
    assert path.bandwidth_bps > 0


def test_the_rate_is_what_the_peer_says() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        drain(connection)
        connection.sendall(b"125000 20000\n")

    with peer(behave) as address:
        assert path_to(address).bandwidth_bps == 50e6


def test_a_probe_is_no_larger_than_it_may_be() -> None:
    sizes = []

    def behave(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        sizes.append(drain(connection))

    with peer(behave) as address:
        path_to(address)
    assert max(sizes) == MAX_BYTES


def test_nothing_is_sent_to_a_service_that_greets_otherwise() -> None:
    sizes = []

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.9p1 Debian-3\r\n")
        sizes.append(drain(connection))

    with peer(behave) as address:
        path = path_to(address)
    assert path.bandwidth_bps is None
    assert path.reason is not None
    assert "`schedulerd peer` does not listen there" in path.reason
    assert sum(sizes) == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "expected bytes and microseconds"),
        (b"12", "expected bytes and microseconds"),
        (b"many bytes\n", "expected bytes and microseconds"),
        (b"-5 20\n", "expected bytes and microseconds"),
        (b"\xff" * 4096, "expected bytes and microseconds"),
        (b"999999999 1\n", f"has got 999999999 bytes of {MAX_BYTES} that were sent"),
        (b"8191 20000\n", "too few to tell a bandwidth"),
        (b"125000 0\n", "too few to tell a bandwidth"),
    ],
)
def test_an_answer_that_makes_no_sense_leaves_the_round_trip(answer: bytes, reason: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        drain(connection)
        connection.sendall(answer)

    with peer(behave) as address:
        path = path_to(address)
    assert path.bandwidth_bps is None
    assert path.reason is not None
    assert reason in path.reason


def test_a_peer_that_closes_half_way_leaves_the_round_trip() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        connection.recv(1000)

    with peer(behave) as address:
        path = path_to(address)
    assert path.bandwidth_bps is None
    assert path.reason


def test_a_peer_that_closes_at_once_leaves_the_round_trip() -> None:
    with peer(lambda connection: None) as address:
        assert path_to(address).reason


def test_a_peer_that_never_greets_is_waited_for_no_longer_than_the_limit() -> None:
    """The kernel completes connections that nobody has accepted yet."""
    with listen("127.0.0.1", 0) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        path = path_to(address, GENEROUS._replace(greeting_s=0.05))
    assert path.reason == f"{address} said b'' within 0.05 s, and nothing more"


def test_a_peer_that_reads_nothing_is_left_when_the_time_is_up() -> None:
    def behave(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(GREETING)
        if connection.recv(1):  # the other connections are for the round trip
            left.wait(PATIENCE_S)

    left = threading.Event()
    with peer(behave) as address:
        path = path_to(address, GENEROUS._replace(sending_s=0.05, answer_s=0.05))
        left.set()
    assert path.reason is not None
    assert "within 0.05 s, and nothing more" in path.reason


def test_a_peer_that_answers_a_byte_now_and_then_is_left_when_the_time_is_up() -> None:
    def behave(connection: socket.socket) -> None:
        while not left.wait(0.3):
            connection.sendall(GREETING[:1])

    left = threading.Event()
    with peer(behave) as address:
        path = path_to(address, GENEROUS._replace(greeting_s=0.5))
        left.set()
    assert path.reason is not None
    assert "within 0.5 s, and nothing more" in path.reason


def test_a_port_where_nobody_listens_is_said() -> None:
    with listen("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
    with pytest.raises(OSError, match=rf"no connection to 127\.0\.0\.1:{port}: .*refused"):
        PeerSource(f"127.0.0.1:{port}", SystemClock(), GENEROUS).read()


def test_a_peer_that_takes_no_connection_is_said_with_the_limit() -> None:
    """Where its queue is full, the kernel drops what comes, as a black hole does."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = full.getsockname()
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        source = PeerSource(f"127.0.0.1:{address[1]}", SystemClock(), GENEROUS._replace(connect_s=0.1))
        with pytest.raises(TimeoutError, match=r"no connection to 127\.0\.0\.1:\d+ within 0\.1 s"):
            source.read()


@pytest.mark.parametrize("host", ["[fe80::1%nosuch]", "[::zz]", "a" * 64, "a..b"])
def test_a_name_that_nobody_has_is_said(host: str) -> None:
    """These are found out without asking anybody."""
    with pytest.raises(OSError, match="no connection to "):
        PeerSource(f"{host}:5201", SystemClock(), GENEROUS).read()


@pytest.mark.parametrize("address", ["", "board", "board:", "board:99999", "::1:5"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        PeerSource(address, SystemClock())
