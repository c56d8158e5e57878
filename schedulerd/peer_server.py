"""The far end of a probe: takes what a daemon sends, throws it away and says how fast it came (`wire.peer`).

It believes nothing that comes in: bytes are counted, never read, and every connection has an end by size and by time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from schedulerd.clock import Clock
from schedulerd.wire.peer import GREETING, MAX_BYTES, MAX_S, Arrived

MAX_CONNECTIONS: Final = 8
"""At once; a probe takes a fraction of a second, and more of them would measure each other."""
PATIENCE_S: Final = 2.0
"""For a client that says nothing, or does not go."""
_CHUNK_BYTES: Final = 64 * 1024
_TURN_S: Final = 0.2


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; OSError where it may not, or the name is not known."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address, family=family)  # with the zone of a link-local one


class PeerServer:
    """Answers probes on a listening socket, which it owns from now on."""

    def __init__(self, listener: socket.socket, clock: Clock, limit_s: float = MAX_S) -> None:
        """`limit_s`: for the bytes of one probe, after the first of them."""
        self._listener = listener
        self._listener.settimeout(_TURN_S)
        self._clock = clock
        self._limit_s = limit_s
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._ended = threading.Event()

    def serve(self) -> None:
        """Answer until closed. A connection that there is no room for is closed without a greeting."""
        with self._listener:
            while not self._ended.is_set():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                except OSError:  # the client has left already, or descriptors are out
                    self._clock.wait(self._ended, _TURN_S)
                    continue
                self._take(connection)

    def close(self) -> None:
        """Let `serve` return. Probes that run go on to their end, which is near."""
        self._ended.set()

    def _take(self, connection: socket.socket) -> None:
        if not self._room.acquire(blocking=False):
            connection.close()
            return
        try:
            threading.Thread(target=self._answer, args=(connection,), name="probe", daemon=True).start()
        except RuntimeError:  # no thread can be had now; the next probe comes in seconds
            self._room.release()
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        try:
            # Clients come and go as they like; one that breaks off gets no answer.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(PATIENCE_S)
                connection.sendall(GREETING)
                if connection.recv(_CHUNK_BYTES):
                    connection.sendall(self._count(connection).line())
                    connection.shutdown(socket.SHUT_WR)
                    self._drain(connection)
        finally:
            self._room.release()

    def _count(self, connection: socket.socket) -> Arrived:
        """What comes after the first read."""
        began_s = last_s = self._clock.now_s()
        size_bytes = 0
        while size_bytes < MAX_BYTES and (left_s := began_s + self._limit_s - last_s) > 0:
            connection.settimeout(left_s)
            try:
                arrived = len(connection.recv(_CHUNK_BYTES))
            except TimeoutError:
                break
            if not arrived:
                break
            size_bytes, last_s = size_bytes + arrived, self._clock.now_s()
        return Arrived(size_bytes, round((last_s - began_s) * 1e6))

    def _drain(self, connection: socket.socket) -> None:
        """Take what is still under way: to close on unread bytes is to reset, which may overtake the answer."""
        until_s, left_bytes = self._clock.now_s() + PATIENCE_S, MAX_BYTES
        while left_bytes > 0 and (left_s := until_s - self._clock.now_s()) > 0:
            connection.settimeout(left_s)
            arrived = len(connection.recv(_CHUNK_BYTES))
            if not arrived:
                return
            left_bytes -= arrived
