"""The way to a named peer, measured by using it a little: how long a round trip takes, and how fast bytes arrive there.

A round trip is the time of a TCP connect, which returns on the second segment of the three-way handshake (RFC 9293,
3.5); the least of a few, because a busy host only ever adds to it. Any service on the peer does for that.

For the bandwidth `schedulerd peer` listens there. It gets a train of packets and says how fast it came in: the bytes
after the first read, over the time that they took, as the rate of a train is its length without the first packet over
its dispersion (C. Dovrolis, P. Ramanathan and D. Moore, Packet-Dispersion Techniques and a Capacity-Estimation
Methodology, IEEE/ACM ToN 12(6), 2004). The train is a TCP transfer of at most 256 KiB and a quarter of a second, so
that it takes no link over; where round trips are long it ends before TCP has got to its full speed. The estimate is
then below the bulk transfer capacity of RFC 3148: it is what a frame would get that is sent there now.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Any, Final, NamedTuple, TypeAlias

from schedulerd.clock import Clock
from schedulerd.control.readings import PeerPath
from schedulerd.control.sources.base import Readings
from schedulerd.wire.peer import GREETING, MAX_ANSWER_BYTES, MAX_BYTES, MAX_S, Arrived, host_and_port

_EVERY_S: Final = 10.0
_CONNECTS: Final = 3
PATIENCE_S: Final = 10.0
"""For a read: all that `Limits` allow, and some seconds to look up a name."""
_ADDRESSES: Final = 3
"""Of a name, that are tried."""
_CHUNK_BYTES: Final = 16 * 1024
_LEAST_BYTES: Final = 8 * 1024
"""Half a dozen packets: fewer have hardly a time between the first and the last."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of socket(7): on, for no time."""

_Address: TypeAlias = tuple[Any, ...]
"""As its family has it."""


class Limits(NamedTuple):
    """Seconds for each part of a probe."""

    connect_s: float = 1.0
    """For each of three."""
    greeting_s: float = 1.0
    sending_s: float = MAX_S
    answer_s: float = 1.0


class PeerSource:
    """Probes the peer. That takes up to `PATIENCE_S`: only for use in an `Aside`."""

    name = "peer"
    every_s = _EVERY_S

    def __init__(self, peer: str, clock: Clock, limits: Limits | None = None) -> None:
        """A source for `peer` (`host:port`); ValueError where that is no address."""
        self._peer = peer
        self._host, self._port = host_and_port(peer)
        self._clock = clock
        self._limits = limits or Limits()
        # Links that compress would carry equal bytes in no time.
        self._chunk = os.urandom(_CHUNK_BYTES)

    def read(self) -> Readings:
        """`peer`. Raises OSError where it cannot be connected to; without bandwidth, `PeerPath` has the reason."""
        try:
            family, address, took_s = self._reach()
            times_s = [took_s, *(self._connect_once(family, address) for _ in range(_CONNECTS - 2))]
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                round_trip_s = min(*times_s, self._connect(connection, address))
                return {"peer": self._path(connection, round_trip_s * 1e3)}
        except TimeoutError as error:
            raise TimeoutError(f"no connection to {self._peer} within {self._limits.connect_s:g} s") from error
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be looked up
            raise OSError(f"no connection to {self._peer}: {error}") from error

    def _reach(self) -> tuple[int, _Address, float]:
        """The first of the peer's addresses that can be connected to, and how long that took."""
        failure: OSError | None = None
        for family, _, _, _, address in self._look_up():
            try:
                return family, address, self._connect_once(family, address)
            except OSError as error:
                failure = error
        raise failure or OSError("the name has no address")

    def _look_up(self) -> list[Any]:
        return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[:_ADDRESSES]

    def _connect_once(self, family: int, address: _Address) -> float:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            return self._connect(connection, address)

    def _connect(self, connection: socket.socket, address: _Address) -> float:
        """Seconds that it took."""
        connection.settimeout(self._limits.connect_s)
        began_s = self._clock.now_s()
        connection.connect(address)
        return self._clock.now_s() - began_s

    def _path(self, connection: socket.socket, round_trip_ms: float) -> PeerPath:
        try:
            return PeerPath(self._peer, round_trip_ms, self._bandwidth_bps(connection))
        except (OSError, ValueError) as error:
            return PeerPath(self._peer, round_trip_ms, reason=str(error))

    def _bandwidth_bps(self, connection: socket.socket) -> float:
        greeting = self._line(connection, len(GREETING), self._limits.greeting_s)
        if greeting != GREETING:
            raise ValueError(f"{self._peer} greets with {greeting!r}; `schedulerd peer` does not listen there")
        sent_bytes = self._send(connection)
        arrived = Arrived.of_line(self._line(connection, MAX_ANSWER_BYTES, self._limits.answer_s))
        if arrived.size_bytes > sent_bytes:
            raise ValueError(f"{self._peer} has got {arrived.size_bytes} bytes of {sent_bytes} that were sent")
        if arrived.size_bytes < _LEAST_BYTES or not arrived.took_us:
            raise ValueError(f"{arrived.size_bytes} bytes in {arrived.took_us} us are too few to tell a bandwidth")
        return arrived.size_bytes * 8e6 / arrived.took_us

    def _send(self, connection: socket.socket) -> int:
        """Send what a probe may; how many bytes that were."""
        # What the kernel has taken is sent, however long it takes: it takes little in advance (tcp(7)), and what is
        # still with it when the probe has ended is thrown away.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _CHUNK_BYTES)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sent_bytes, until_s = 0, self._clock.now_s() + self._limits.sending_s
        with contextlib.suppress(TimeoutError, ConnectionError):  # the peer may have seen enough: it says how much
            while sent_bytes < MAX_BYTES and (left_s := until_s - self._clock.now_s()) > 0:
                connection.settimeout(left_s)
                sent_bytes += connection.send(self._chunk[: MAX_BYTES - sent_bytes])
            connection.shutdown(socket.SHUT_WR)
        return sent_bytes

    def _line(self, connection: socket.socket, most_bytes: int, limit_s: float) -> bytes:
        """What the peer says until a line ends, it does, or that is `most_bytes`."""
        line, until_s = b"", self._clock.now_s() + limit_s
        while not line.endswith(b"\n") and len(line) < most_bytes:
            # However slowly it comes: a peer that sends a byte now and then ends as well.
            connection.settimeout(max(until_s - self._clock.now_s(), 1e-3))
            try:
                part = connection.recv(most_bytes - len(line))
            except TimeoutError:
                raise TimeoutError(f"{self._peer} said {line!r} within {limit_s:g} s, and nothing more") from None
            if not part:
                break
            line += part
        return line
