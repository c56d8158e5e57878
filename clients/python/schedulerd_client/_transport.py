"""Messages over ZeroMQ: one socket and its monitor, polled together.

The monitor says at once when a connection ends, so that a lost daemon is noticed long before a time-out. A
connection that ended is never used again: `open` throws the socket away with everything queued on it.
"""

from __future__ import annotations

import contextlib
import math
import struct
import time
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

import zmq

from schedulerd.wire.envelope import Frame
from schedulerd_client._errors import SchedulerdClientError
from schedulerd_client._where import absence

if TYPE_CHECKING:
    import asyncio  # only where there is an event loop: an operator's tool, which has none, starts sooner without

    from schedulerd_client._remote import Denied, OperatorKeys

HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 3000
"""A daemon whose process is stopped, or whose host is gone, is lost after this long."""
RECONNECT_MS = 20
RECONNECT_MAX_MS = 100
COPY_BYTES = 512 * 1024
"""Below this, copying a frame costs less than tracking it (measured: at 150 kB it does, at 1 MB it does not)."""
_MONITORED: Final = struct.Struct("=Hi")
"""The first frame of a monitor's message: an event and its value (zmq_socket_monitor(3))."""
WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED


class Silence(Enum):
    """What came instead of a message."""

    TIMED_OUT = auto()
    LOST = auto()
    """The connection ended; everything that had arrived before has been handed out."""
    ABSENT = auto()
    """Nobody listens at the endpoint; trying goes on, and every attempt says so."""
    CONNECTED = auto()
    """The connection stands."""
    DENIED = auto()
    """A daemon on another machine did not let us in; `ZmqTransport.denial` says why. No more attempts are made."""


Incoming = Sequence[Frame] | Silence


class Transport(Protocol):
    """How messages travel. `ZmqTransport` is the real one, `MockTransport` the one for tests of apps."""

    def open(self) -> None:
        """Begin a new connection; whatever the one before had queued is gone."""
        ...

    def send(self, frames: Sequence[Frame]) -> None:
        """Queue a message; allowed before the connection stands."""
        ...

    def receive(self, timeout_s: float) -> Incoming:
        """The next message, or what came instead."""
        ...

    async def receive_async(self, timeout_s: float) -> Incoming:
        """As `receive`, while the event loop goes on."""
        ...

    def fault(self) -> str | None:
        """Why no daemon is connected, with the remedy; None when one is."""
        ...

    def close(self) -> None:
        """End the connection; right also when it has ended."""
        ...


class ZmqTransport:
    """A DEALER socket, or with `topics` a SUB socket, at `address`; with `keys` over CURVE."""

    def __init__(self, address: str, topics: Sequence[str] | None = None, keys: OperatorKeys | None = None) -> None:
        self._address = address
        self._topics = topics
        self._keys = keys
        self._denied: Denied | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link: _Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred: asyncio.Event | None = None
        """Something may have happened on the sockets since the last look; None while nobody waits in an event loop."""

    def open(self) -> None:
        """Begin a new connection; whatever the one before had queued is gone."""
        self._drop()
        self._denied = None
        self._link = _Link(self._context, self._address, self._topics, self._keys)
        # Whoever waits on the connection before must look at this one.
        self._stir()

    def send(self, frames: Sequence[Frame]) -> None:
        """Queue a message; allowed before the connection stands."""
        socket = self._opened().socket
        *first, last = frames
        # Nothing takes it where a handshake has failed already: `receive` tells of that.
        with contextlib.suppress(zmq.Again):
            for frame in first:
                socket.send(frame, zmq.SNDMORE | zmq.NOBLOCK)
            socket.send(last, zmq.NOBLOCK, copy=len(last) < COPY_BYTES)
        # Sending reads the socket's signals, so a message that came in just now may make its descriptor silent.
        self._stir()

    def receive(self, timeout_s: float) -> Incoming:
        """The next message, or what came instead."""
        link = self._opened()
        until_s = time.monotonic() + timeout_s
        while True:
            if link.lost:
                return link.message() or Silence.LOST
            ready = link.poller.poll(max(0, math.ceil((until_s - time.monotonic()) * 1e3)))
            if not ready:
                return Silence.TIMED_OUT
            if len(ready) > 1 or ready[0][0] is link.monitor:
                link.heed_monitor()
                if link.denied is not None:
                    # Else libzmq would try again and again.
                    self._denied = link.denied
                    self._drop()
                    return Silence.DENIED
                if link.news is not None:
                    news, link.news = link.news, None
                    return news
            message = link.message()
            if message:
                return message

    async def receive_async(self, timeout_s: float) -> Incoming:
        """As `receive`, while the event loop goes on."""
        import asyncio

        until_s = time.monotonic() + timeout_s
        if self._stirred is None:
            self._stirred = asyncio.Event()
        while True:
            self._watch(self._opened(), asyncio.get_running_loop(), self._stirred)
            self._stirred.clear()
            incoming = self.receive(0.0)
            wait_s = until_s - time.monotonic()
            if incoming is not Silence.TIMED_OUT or wait_s <= 0:
                return incoming
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stirred.wait()

    def fault(self) -> str | None:
        """Why no daemon is connected, with the remedy; None when one is."""
        if self._link is not None:
            self._link.heed_monitor()
            if self._link.connected:
                return None
        return absence(self._address)

    def denial(self) -> SchedulerdClientError | None:
        """What to raise after `Silence.DENIED`; None where we were let in, or have not been answered yet."""
        return None if self._denied is None else self._denied.error(self._address)

    def close(self) -> None:
        """End the connection; right also when it has ended."""
        self._drop()
        self._context.term()

    def _opened(self) -> _Link:
        if self._link is None:
            raise zmq.ZMQError(zmq.ENOTSOCK, "open() comes first")
        return self._link

    def _stir(self) -> None:
        if self._stirred is not None:
            self._stirred.set()

    def _watch(self, link: _Link, loop: asyncio.AbstractEventLoop, stirred: asyncio.Event) -> None:
        """Have the event loop tell us when either socket stirs (zmq_getsockopt(3), ZMQ_FD: edge-triggered)."""
        if self._loop is not None:
            return
        self._loop = loop
        for descriptor in link.descriptors:
            loop.add_reader(descriptor, stirred.set)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            for descriptor in link.descriptors:
                self._loop.remove_reader(descriptor)
        self._loop = None
        link.close()


class _Link:
    """One connection: its socket, its monitor and what the monitor has said."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topics: Sequence[str] | None,
        keys: OperatorKeys | None,
    ) -> None:
        self.socket = context.socket(zmq.DEALER if topics is None else zmq.SUB)
        self.socket.linger = 0
        # Open requests are bounded by the daemon, which refuses what is too much; a full queue would block us.
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.heartbeat_ivl = HEARTBEAT_MS
        self.socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        self.socket.reconnect_ivl = RECONNECT_MS
        self.socket.reconnect_ivl_max = RECONNECT_MAX_MS
        self._denials = 0
        """Events that say why we were not let in."""
        if keys is not None:
            # Only here: an app, and an operator on this machine, need not wait for what they do not use.
            from schedulerd_client._remote import DENIALS, secure

            self._denials = DENIALS
            secure(self.socket, address, keys)
        for topic in topics or ():
            self.socket.subscribe(topic)
        self.monitor = self.socket.get_monitor_socket(WATCHED | self._denials)
        self.poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        self.poller.register(self.monitor, zmq.POLLIN)
        self.descriptors = (self.socket.fileno(), self.monitor.fileno())
        self.connected = False
        self.lost = False
        self.news: Silence | None = None
        """CONNECTED or ABSENT, to be told before the messages that follow it."""
        self.denied: Denied | None = None
        self.socket.connect(address)

    def message(self) -> list[bytes] | None:
        """A message that has arrived, or None."""
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def heed_monitor(self) -> None:
        """Take in what the monitor has to say."""
        with contextlib.suppress(zmq.Again):
            while True:
                event, _ = _MONITORED.unpack(self.monitor.recv_multipart(zmq.NOBLOCK)[0])
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self.connected, self.news = True, Silence.CONNECTED
                elif event == zmq.EVENT_DISCONNECTED:
                    self.connected, self.lost = False, True
                elif event & self._denials:
                    self._heed_denial(event)
                elif not self.lost:
                    self.news = Silence.ABSENT

    def _heed_denial(self, event: int) -> None:
        from schedulerd_client._remote import Denied

        self.denied = Denied(event)

    def close(self) -> None:
        """Both sockets, at once."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)
