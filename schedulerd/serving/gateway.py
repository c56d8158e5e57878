"""The sockets: the only place in the daemon that speaks ZeroMQ.

A socket is used by one thread at a time: the lane that holds the *baton*. An idle lane takes it and waits on the
sockets itself, so that on a board with one lane a request crosses no thread between its arrival and its reply
(leader/followers, Schmidt et al., "Pattern-Oriented Software Architecture 2", 2000). ZeroMQ allows a socket to move
between threads with a full fence (zmq_socket(3), "Thread safety"), which acquiring the baton is.

Everybody else says what should be sent, from any thread (`reply`, `answer`, `publish`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
import zmq

from schedulerd.clock import Clock
from schedulerd.errors import SchedulerdError
from schedulerd.serving.spin import SpinningWait
from schedulerd.wire.codec import encode
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.messages import MAX_TENSOR_BYTES, MAX_TENSORS, Ping

Frame = bytes | memoryview
log = structlog.get_logger(__name__)

HARD_FRAME_BYTES = 2 * MAX_TENSOR_BYTES
"""libzmq closes a connection over this without a word; between MAX_TENSOR_BYTES and this we can answer `too_large`."""
MESSAGES_PER_TURN = 32
"""Read from one socket before looking at the others, so that no flood keeps replies from leaving."""
BACKLOG = 64
"""Replies kept for a client that does not read, in libzmq and again here; beyond it they are dropped and logged."""
ARRIVALS = 64
"""Messages of one client that wait in libzmq; beyond it the client's own socket fills, and its next send waits."""
EVENTS_KEPT = 1000
"""For a listener that does not read; it sees the gap in the numbers."""
HEARTBEAT_MS = 500
HEARTBEAT_TIMEOUT_MS = 1500
LAST_WORDS_MS = 500
"""How long closing waits for replies already sent to leave the process."""


class Peer(NamedTuple):
    """Who is at the other end of an ipc connection, from the kernel (SO_PEERCRED, unix(7)); None over tcp."""

    uid: int | None
    pid: int | None


class Handlers(NamedTuple):
    """What the gateway calls, always on the thread that holds the baton."""

    infer: Callable[[bytes, Sequence[Frame]], None]
    control: Callable[[bytes, Peer, Sequence[Frame]], None]
    gone: Callable[[bytes], None]
    """The client with that identity on the inference socket cannot be reached any more."""


class Gateway:
    """Three sockets (infer, control, events) and an outbox that any thread may fill."""

    def __init__(self, endpoints: Endpoints, handlers: Handlers, clock: Clock, *, may_spin: bool = False) -> None:
        """Args: endpoints; handlers; clock; may_spin: whether the waiting lane may spin (see `spin`)."""
        self.baton = threading.Lock()
        self._handlers = handlers
        self._outbox: deque[tuple[zmq.Socket[bytes], Sequence[Frame]]] = deque()
        self._backlogs: dict[bytes, deque[Sequence[Frame]]] = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._context = zmq.Context(io_threads=1)
        self._paths = [Path(e.removeprefix("ipc://")) for e in (endpoints.infer, endpoints.control, endpoints.events)]
        self._infer = self._bind(zmq.ROUTER, endpoints.infer)
        self._control = self._bind(zmq.ROUTER, endpoints.control)
        self._events = self._bind(zmq.PUB, endpoints.events)
        poller = zmq.Poller()
        for readable in (self._infer, self._control, self._wake):
            poller.register(readable, zmq.POLLIN)
        self._arrivals = SpinningWait(poller.poll, clock, may_spin=may_spin, wake=self._wake)

    def _bind(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = HARD_FRAME_BYTES
        socket.rcvhwm = ARRIVALS
        socket.sndhwm = EVENTS_KEPT if kind == zmq.PUB else BACKLOG
        socket.heartbeat_ivl = HEARTBEAT_MS
        socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        if kind == zmq.ROUTER:
            # Without it, replies to a slow or vanished peer disappear in silence.
            socket.router_mandatory = True
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise SchedulerdError(f"cannot listen on {endpoint}: {error.strerror}; choose another --runtime") from error
        Path(endpoint.removeprefix("ipc://")).chmod(0o660)
        return socket

    # For every thread.

    def reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue a message to a client of the inference socket; it leaves with the next turn."""
        self._outbox.append((self._infer, (identity, *frames)))

    def answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue an answer to an operator on the control socket."""
        self._outbox.append((self._control, (identity, *frames)))

    def publish(self, frames: Sequence[Frame]) -> None:
        """Queue an event for everybody who listens."""
        self._outbox.append((self._events, frames))

    def wake(self) -> None:
        """End the wait of the lane that is waiting on the sockets, if one is."""
        # EAGAIN: the counter is full, so a wake-up is pending anyway.
        with self._wake_lock, contextlib.suppress(BlockingIOError):
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    # For the holder of the baton.

    def turn(self, wait_s: float = 0.0) -> None:
        """Send what is queued, then take in what has arrived, waiting at most `wait_s` for the first of either.

        Runs between blocks, so the case of nothing to do is one call of zmq_poll(3).
        """
        if self._outbox or self._backlogs:
            self._send_all()
        for readable, _ in self._arrivals.wait(wait_s):
            if readable is self._infer:
                for identity, frames in self._arrived(self._infer):
                    self._handlers.infer(identity.bytes, frames)
            elif readable is self._control:
                for identity, frames in self._arrived(self._control):
                    self._handlers.control(identity.bytes, _peer(identity), frames)
            else:
                os.eventfd_read(self._wake)
        if self._outbox:
            self._send_all()

    def pass_baton(self) -> None:
        """Release the baton. What somebody wanted to send who found it taken leaves first."""
        self.baton.release()
        while self._outbox and self.baton.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self.baton.release()

    def reachable(self, identity: bytes) -> bool:
        """Whether a client of the inference socket is still connected: a send to one that is not fails."""
        try:
            self._infer.send_multipart((identity, *encode(Ping(0))), zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return False
        return True

    def _arrived(self, socket: zmq.Socket[bytes]) -> Iterator[tuple[zmq.Frame, Sequence[Frame]]]:
        """Messages of a socket that is known to have one, at most `MESSAGES_PER_TURN`."""
        for _ in range(MESSAGES_PER_TURN):
            identity = socket.recv(copy=False)
            frames: list[Frame] = []
            more = identity.more
            while more:
                # Tensors stay where libzmq put them; the header is small, and bytes are quicker to decode.
                frame = socket.recv(copy=False)
                more = frame.more
                # One frame beyond the limit is kept, so that the decoder sees that there were too many.
                if len(frames) <= MAX_TENSORS + 1:
                    frames.append(frame.buffer if frames else frame.bytes)
            yield identity, frames
            if not int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return

    def _send_all(self) -> None:
        if self._backlogs:
            for identity in tuple(self._backlogs):
                self._retry(identity)
        while self._outbox:
            socket, frames = self._outbox.popleft()
            if self._backlogs and socket is self._infer and bytes(frames[0]) in self._backlogs:
                self._keep(bytes(frames[0]), frames)
            else:
                self._send(socket, frames)

    def _send(self, socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> bool:
        """True when the message is off our hands: sent, or its peer is gone."""
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            if socket is self._infer:
                self._keep(bytes(frames[0]), frames)
                return False
            log.debug("dropped", to="operator or listener", reason="does not read")
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            if socket is self._infer:
                self._backlogs.pop(bytes(frames[0]), None)
                self._handlers.gone(bytes(frames[0]))
        return True

    def _keep(self, identity: bytes, frames: Sequence[Frame]) -> None:
        backlog = self._backlogs.setdefault(identity, deque())
        if len(backlog) >= BACKLOG:
            log.warning("reply_dropped", reason="client does not read", kept=BACKLOG)
            return
        backlog.append(frames)

    def _retry(self, identity: bytes) -> None:
        backlog = self._backlogs.pop(identity)
        while backlog:
            frames = backlog.popleft()
            if not self._send(self._infer, frames):
                # _send has begun a new backlog with the message that did not fit.
                self._backlogs[identity].extend(backlog)
                return

    def close(self, timeout_s: float) -> None:
        """Let the last replies leave, close everything, remove the socket files.

        A lane that keeps the baton for longer than `timeout_s` is stuck inside a block; its sockets end with the
        process.
        """
        if self.baton.acquire(timeout=timeout_s):
            try:
                self._send_all()
                for socket in (self._infer, self._control, self._events):
                    socket.close(linger=LAST_WORDS_MS)
                self._context.term()
                self._close_wake()
            finally:
                self.baton.release()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _close_wake(self) -> None:
        with self._wake_lock:
            os.close(self._wake)
            self._wake = -1


def _peer(identity: zmq.Frame) -> Peer:
    """libzmq gives the address of an ipc peer as `host:uid:gid:pid` (zmq_ipc(7), "Peer credentials")."""
    parts = str(identity.get("Peer-Address")).split(":")
    if len(parts) != 4 or not parts[1].isdigit() or not parts[3].isdigit():
        return Peer(None, None)
    return Peer(uid=int(parts[1]), pid=int(parts[3]))
