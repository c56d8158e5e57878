"""The endpoint against clients of every kind: right ones, wrong ones, slow ones, and too many."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse

import pytest

from schedulerd.errors import ConfigError
from schedulerd.metrics.server import LASTING_S, MAX_CONNECTIONS, Listener, MetricsServer
from schedulerd.wire.peer import host_and_port
from tests.fakes import FakeClock

PATIENCE_S = 10.0


class Served:
    """An endpoint whose text the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        listener = Listener("127.0.0.1:0", self.clock)
        self.address = host_and_port(listener.address)
        self.server = MetricsServer(listener)
        self.told: Callable[[str], tuple[str, bytes]] = lambda accept: ("text/plain", f"accept {accept}\n".encode())
        self.server.serve(lambda accept: self.told(accept))

    def ask(self, path: str = "/metrics", method: str = "GET", accept: str = "x") -> tuple[int, bytes, HTTPResponse]:
        connection = HTTPConnection(*self.address, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers={"Accept": accept})
            response = connection.getresponse()
            return response.status, response.read(), response
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        """What comes back on a connection that says this and then no more."""
        with socket.create_connection(self.address, PATIENCE_S) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

    def silent(self) -> socket.socket:
        """A connection that has begun a request."""
        connection = socket.create_connection(self.address, PATIENCE_S)
        connection.sendall(b"GET /met")
        return connection


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close(PATIENCE_S)
    assert not made.server.is_alive()


def test_a_scrape_is_answered(served: Served) -> None:
    status, body, response = served.ask(accept="openmetrics")
    assert (status, body) == (200, b"accept openmetrics\n")
    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["Server"].strip() == "schedulerd", "which Python runs here is nobody's business"


def test_a_query_is_ignored_and_head_has_no_body(served: Served) -> None:
    assert served.ask("/metrics?collect=x")[0] == 200
    status, body, response = served.ask(method="HEAD")
    assert (status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) == len(b"accept x\n")


@pytest.mark.parametrize("path", ["/", "/metricsx", "/../metrics", "/favicon.ico"])
def test_another_path_is_answered_with_the_right_one(served: Served, path: str) -> None:
    status, body, _ = served.ask(path)
    assert status == 404
    assert b"the metrics are at /metrics" in body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /metrics HTTP/1.0\r\n\r\n", b" 501 "),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b" 505 "),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n", b" 414 "),
        (b"GET /metrics HTTP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", b"400"),
    ],
)
def test_a_bad_request_is_answered_with_its_fault_and_the_next_one_is_served(
    served: Served, sent: bytes, status: bytes
) -> None:
    with suppress(ConnectionResetError):  # one may be answered before all of it was read
        assert status in served.raw(sent)
    assert served.ask()[0] == 200


def test_connections_that_say_nothing_keep_nobody_else_waiting(served: Served) -> None:
    silent = [served.silent() for _ in range(MAX_CONNECTIONS - 1)]
    assert served.ask()[0] == 200
    for connection in silent:
        connection.close()


def test_one_connection_too_many_is_turned_away_at_once_and_served_when_another_has_ended(served: Served) -> None:
    silent = [served.silent() for _ in range(MAX_CONNECTIONS)]
    until(lambda: served.ask()[0] == 503)
    for connection in silent:
        connection.close()
    until(lambda: served.ask()[0] == 200)


def test_a_connection_that_lasts_too_long_is_cut_off_though_it_is_never_silent(served: Served) -> None:
    def is_cut_off() -> bool:
        try:
            connection.sendall(b"x")
        except OSError:
            return True
        return has_connections(served, 0)

    with served.silent() as connection:
        until(lambda: has_connections(served, 1))
        served.clock.advance(LASTING_S)
        until(is_cut_off)


def test_a_client_that_leaves_in_the_middle_is_forgotten(served: Served) -> None:
    served.told = lambda _: ("text/plain", b"x" * 10_000_000)
    for _ in range(MAX_CONNECTIONS + 2):
        with socket.create_connection(served.address, PATIENCE_S) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            connection.recv(10)
    served.told = lambda _: ("text/plain", b"short\n")
    until(lambda: served.ask()[0] == 200)


def test_a_fault_of_ours_is_an_answer_and_not_the_end(served: Served) -> None:
    def fail(accept: str) -> tuple[str, bytes]:
        raise RuntimeError(accept)

    right, served.told = served.told, fail
    assert served.ask()[0] == 500
    served.told = right
    assert served.ask()[0] == 200


def test_those_who_come_before_there_is_anything_to_tell_are_answered_later() -> None:
    listener = Listener("127.0.0.1:0", FakeClock())
    with socket.create_connection(host_and_port(listener.address), PATIENCE_S) as early:
        early.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        server = MetricsServer(listener)
        server.serve(lambda _: ("text/plain", b"now\n"))
        assert early.makefile("rb").read().endswith(b"now\n")
        server.close(PATIENCE_S)


def test_closing_frees_the_port_whether_or_not_anything_was_served() -> None:
    listener = Listener("127.0.0.1:0", FakeClock())
    address = listener.address
    server = MetricsServer(listener)
    server.close(PATIENCE_S)
    server.close(PATIENCE_S)
    Listener(address, FakeClock()).server_close()


def test_an_ipv6_address_is_served_too() -> None:
    try:
        listener = Listener("[::1]:0", FakeClock())
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    assert host_and_port(listener.address)[0] == "::1"
    listener.server_close()


def test_a_port_that_is_taken_is_refused_with_the_remedy() -> None:
    taken = Listener("127.0.0.1:0", FakeClock())
    with pytest.raises(ConfigError, match=rf"\[metrics\] listen: cannot listen on {taken.address}: .*in use.*off"):
        Listener(taken.address, FakeClock())
    taken.server_close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Listener("192.0.2.1:0", FakeClock())


def has_connections(served: Served, count: int) -> bool:
    return served.server.connections == count


def until(holds: Callable[[], bool]) -> None:
    """Look again and again; a connection that is cut off at the wrong moment counts as no."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        try:
            if holds():
                return
        except OSError:
            pass
        pause.wait(0.01)
    raise AssertionError("not in time")
