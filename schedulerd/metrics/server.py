"""The HTTP server of the metrics: a thread that accepts, and one for each of a few connections.

It serves whoever connects, so nothing that a client does or leaves undone may cost more than its own connection: there
are few of them, each has a time-out for every read and write, and is cut off when it has lasted too long.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import structlog

from schedulerd.clock import Clock
from schedulerd.control.courtesy import preempt_nobody
from schedulerd.errors import ConfigError
from schedulerd.wire.peer import host_and_port

log = structlog.get_logger(__name__)

PATH: Final = "/metrics"
MAX_CONNECTIONS: Final = 8
SILENCE_S: Final = 5.0
"""Longest wait for one read or write of a client."""
LASTING_S: Final = 15.0
"""After so long a connection is cut off, whatever it does; Prometheus gives up after 10 s."""
LOOK_S: Final = 0.5
"""How often the server looks for connections that have lasted too long."""
RETRY_S: Final = 0.1

Told = Callable[[str], tuple[str, bytes]]
"""Content type and body for a header `Accept`."""


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The listening socket, open from the moment that it is made."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32
    timeout = LOOK_S

    def __init__(self, address: str, clock: Clock, lasting_s: float = LASTING_S) -> None:
        """Listen, or raise `ConfigError`. Args: address: `host:port`; clock; lasting_s: of a connection, at most."""
        host, port = host_and_port(address)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.told: Told | None = None
        self._clock = clock
        self._lasting_s = lasting_s
        self._lock = threading.Lock()
        self._open: dict[Any, float] = {}
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"[metrics] listen: cannot listen on {address}: {error.strerror or error}; choose a free port and an "
                'address of this machine, or "off". Under systemd the unit must allow it, see docs/metrics.md'
            ) from error

    @property
    def address(self) -> str:
        """`host:port`, with the port that it has really got."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    @property
    def connections(self) -> int:
        """Being served now."""
        with self._lock:
            return len(self._open)

    def get_request(self) -> tuple[Any, Any]:
        """The next connection; where it cannot be accepted, as without descriptors, not again at once."""
        try:
            return super().get_request()
        except OSError:
            threading.Event().wait(RETRY_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or turn it away."""
        with self._lock:
            has_room = len(self._open) < MAX_CONNECTIONS
            if has_room:
                self._open[request] = self._clock.now_s()
        if has_room:
            super().process_request(request, client_address)
        else:
            self._turn_away(request)

    def shutdown_request(self, request: Any) -> None:
        """A connection has ended."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def cut_off_old(self) -> None:
        """End the connections that have lasted too long; their threads then find them closed."""
        now_s = self._clock.now_s()
        with self._lock:
            old = [request for request, since_s in self._open.items() if now_s - since_s >= self._lasting_s]
        for request in old:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's
        """A client that left in the middle is none of our troubles."""
        log.debug("metrics_connection_failed", client=str(client_address), reason=str(sys.exception()))

    def _turn_away(self, request: Any) -> None:
        reason = f"{MAX_CONNECTIONS} connections are open, which is the limit; try again later\n"
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(f"HTTP/1.0 503 Service Unavailable\r\nContent-Length: {len(reason)}\r\n\r\n{reason}".encode())
        self.shutdown_request(request)


class Handler(BaseHTTPRequestHandler):
    """One request: `GET` or `HEAD` of `/metrics`. Anything else gets HTTP's answer to it."""

    server: Listener
    timeout = SILENCE_S
    server_version = "schedulerd"
    sys_version = ""

    def do_GET(self) -> None:
        """The metrics, or what is wrong."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, f"the metrics are at {PATH}")
            return
        assert self.server.told is not None, "serve() comes before the first connection is accepted"
        try:
            content_type, body = self.server.told(self.headers.get("Accept", ""))
        except Exception:
            log.exception("metrics_fault")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "see the daemon's log")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library looks for this name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's
        """A scrape is no event."""


class MetricsServer(threading.Thread):
    """Accepts connections until it is stopped; a program that cannot be reached for its metrics goes on without."""

    def __init__(self, listener: Listener) -> None:
        """Args: listener: it is closed in the end, whether or not the thread was started."""
        super().__init__(name="metrics", daemon=True)
        self._listener = listener
        self._stopped = threading.Event()

    @property
    def connections(self) -> int:
        """Being served now."""
        return self._listener.connections

    def serve(self, told: Told) -> None:
        """From now on connections are accepted; those that came before have waited. Args: told: what to answer."""
        self._listener.told = told
        self.start()

    def run(self) -> None:
        """Accept, and cut off who stays too long."""
        preempt_nobody()
        while not self._stopped.is_set():
            try:
                self._listener.handle_request()
                self._listener.cut_off_old()
            except Exception:
                log.exception("metrics_server_fault")
                self._stopped.wait(LOOK_S)

    def close(self, timeout_s: float) -> None:
        """Accept no more, and close the socket; connections that are being served end with the process."""
        self._stopped.set()
        # Wakes the thread, which waits for a connection.
        with contextlib.suppress(OSError):
            self._listener.socket.shutdown(socket.SHUT_RDWR)
        if self.is_alive():
            self.join(timeout_s)
        self._listener.server_close()
