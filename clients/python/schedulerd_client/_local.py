"""Messages over the daemon's local socket: a system call to send one, one to wait, one to take the answer.

No thread stands between the app and the daemon, as libzmq's do on both sides.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from schedulerd.wire.envelope import Frame
from schedulerd.wire.local import MAX_PACKET_BYTES
from schedulerd_client._errors import Overloaded
from schedulerd_client._link import MAX_KEPT, Link
from schedulerd_client._memory import Rings
from schedulerd_client._transport import Incoming, Silence
from schedulerd_client._where import absence

PAUSE_S: Final = 0.02
"""Between two attempts to connect, at first, and doubled while they bring nothing."""
PAUSE_MAX_S: Final = 0.1


class LocalTransport:
    """A SOCK_SEQPACKET socket to the one at `path` (see `schedulerd.wire.local`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rings = Rings()
        self._link: Link | None = None
        self._early: deque[Sequence[Frame]] = deque()
        """Messages for the connection that is being tried."""
        self._news: Silence | None = None
        """CONNECTED or ABSENT, to be told before anything else."""
        self._attempt_at_s = -math.inf
        self._pause_s = PAUSE_S
        self._watched: tuple[asyncio.AbstractEventLoop, Link] | None = None
        self._stirred = asyncio.Event()
        """Something may have happened since the last look."""

    def open(self) -> None:
        """Begin a new connection; whatever the one before had queued is gone."""
        if self._link is not None and self._link.served:
            # The pauses are for a daemon that is not there, or that hangs up at once.
            self._pause_s, self._attempt_at_s = PAUSE_S, -math.inf
        self._drop()
        self._attempt_if_due()
        # Whoever waits on the connection before must look at this one.
        self._stirred.set()

    def send(self, frames: Sequence[Frame]) -> None:
        """Queue a message; allowed before the connection stands. Errors: see `Link.send`."""
        link = self._link
        if link is not None:
            try:
                link.send(frames)
            finally:
                if link.blocked or link.lost:
                    self._stirred.set()
        elif len(self._early) < MAX_KEPT:
            self._early.append(frames)
        else:
            raise Overloaded(f"{MAX_KEPT} messages wait for a daemon at {self._path}; start it")

    def receive(self, timeout_s: float) -> Incoming:
        """The next message, or what came instead."""
        until_s = time.monotonic() + timeout_s
        while True:
            link = self._link
            if self._news is None and link is not None:
                incoming = link.receive(until_s - time.monotonic())
            else:
                incoming = self._news_until(until_s)
            if incoming is not None:
                return incoming

    async def receive_async(self, timeout_s: float) -> Incoming:
        """As `receive`, while the event loop goes on."""
        until_s = time.monotonic() + timeout_s
        while True:
            self._stirred.clear()
            incoming = self._now()
            if incoming is not None:
                return incoming
            wait_s = until_s - time.monotonic()
            if wait_s <= 0:
                return Silence.TIMED_OUT
            await self._stir(wait_s)

    def fault(self) -> str | None:
        """Why no daemon is connected, with the remedy; None when one is."""
        return absence(str(self._path)) if self._link is None or self._link.is_lost() else None

    def frame_memory(self, size_bytes: int) -> memoryview:
        """Memory whose bytes travel without a copy."""
        return self._rings.lend(size_bytes)

    def close(self) -> None:
        """End the connection; right also when it has ended."""
        self._drop()
        self._rings.close()

    # Connecting.

    def _attempt_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s < self._attempt_at_s:
            return
        self._attempt_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        connected = _connected(self._path)
        if connected is None:
            self._news = Silence.ABSENT
            return
        self._news = Silence.CONNECTED
        self._link = Link(connected, self._rings)
        early, self._early = self._early, deque()
        for frames in early:
            self._link.send(frames)

    def _news_until(self, until_s: float) -> Incoming | None:
        """What the next attempt brings, if it is due in time."""
        if self._news is None:
            time.sleep(max(0.0, min(until_s, self._attempt_at_s) - time.monotonic()))
            self._attempt_if_due()
        news, self._news = self._news, None
        return Silence.TIMED_OUT if news is None and time.monotonic() >= until_s else news

    def _drop(self) -> None:
        self._unwatch()
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._early.clear()
        self._news = None

    # In an event loop.

    def _now(self) -> Incoming | None:
        """What is there without waiting."""
        if self._link is None:
            self._attempt_if_due()
        if self._news is not None or self._link is None:
            news, self._news = self._news, None
            return news
        if self._link.blocked:
            self._link.flush()
        return self._link.take()

    async def _stir(self, wait_s: float) -> None:
        """Wait until the socket stirs, a message is to be sent, or an attempt is due; `wait_s` at most."""
        loop = asyncio.get_running_loop()
        self._watch(loop)
        if self._link is None:
            wait_s = min(wait_s, max(0.0, self._attempt_at_s - time.monotonic()))
        alarm = loop.call_later(wait_s, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            alarm.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        link = self._link
        if link is None:
            return
        if self._watched != (loop, link):
            self._unwatch()
            loop.add_reader(link.descriptor, self._stirred.set)
            self._watched = (loop, link)
        if link.blocked:
            loop.add_writer(link.descriptor, self._stirred.set)
        else:
            loop.remove_writer(link.descriptor)

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None and not watched[0].is_closed():
            loop, link = watched
            loop.remove_reader(link.descriptor)
            loop.remove_writer(link.descriptor)


def _connected(path: Path) -> socket.socket | None:
    """A connection, or None where nobody takes one."""
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A local connection stands at once, or not at all: EAGAIN is a daemon with too many that it has not accepted.
        connecting.connect(str(path))
        # Twice that is granted (socket(7)), so that a packet fits whatever the default of this machine is.
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET_BYTES)
    except OSError:
        connecting.close()
        return None
    return connecting
