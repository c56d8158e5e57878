"""The sockets: the only place in the daemon that speaks ZeroMQ. The local socket beside it is `local`'s.

A socket is used by one thread at a time: the lane that holds the *baton*. An idle lane takes it and waits on the
sockets itself, so that on a board with one lane a request crosses no thread between its arrival and its reply
(leader/followers, Schmidt et al., "Pattern-Oriented Software Architecture 2", 2000). ZeroMQ allows a socket to move
between threads with a full fence (zmq_socket(3), "Thread safety"), which acquiring the baton is.

Everybody else says what should be sent, from any thread (`reply`, `answer`, `publish`). What is for a local client
leaves at once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
import zmq

from schedulerd.clock import Clock
from schedulerd.errors import SchedulerdError
from schedulerd.serving.backlog import BACKLOG, Backlogs
from schedulerd.serving.counters import Dropped, Tally
from schedulerd.serving.handlers import Frame, Handlers, Peer
from schedulerd.serving.local import LOCAL, LocalPort
from schedulerd.serving.rounds import Rounds
from schedulerd.serving.spin import SpinningWait
from schedulerd.wire.codec import encode
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.messages import MAX_TENSOR_BYTES, MAX_TENSORS, Ping

log = structlog.get_logger(__name__)

HARD_FRAME_BYTES = 2 * MAX_TENSOR_BYTES
"""libzmq closes a connection over this without a word; between MAX_TENSOR_BYTES and this we can answer `too_large`."""
MESSAGES_PER_TURN = 32
"""Read from one socket before looking at the others, so that no flood keeps replies from leaving."""
ARRIVALS = 64
"""Messages of one client that wait in libzmq; beyond it the client's own socket fills, and its next send waits."""
EVENTS_KEPT = 1000
"""For a listener that does not read; it sees the gap in the numbers."""
HEARTBEAT_MS = 500
HEARTBEAT_TIMEOUT_MS = 1500
LAST_WORDS_MS = 500
"""How long closing waits for replies already sent to leave the process."""


class Gateway:
    """Four sockets (infer, local, control, events) and an outbox that any thread may fill."""

    def __init__(self, endpoints: Endpoints, handlers: Handlers, clock: Clock, *, may_spin: bool = False) -> None:
        """Args: endpoints; handlers; clock; may_spin: whether the waiting lane may spin (see `spin`)."""
        self.baton = threading.Lock()
        self._handlers = handlers
        self._outbox: deque[tuple[zmq.Socket[bytes], Sequence[Frame]]] = deque()
        self._tally = Tally()
        self._backlogs = Backlogs(self._tally)
        self._clock = clock
        self._sender: zmq.Frame | None = None
        """Of the message on the inference socket that is being handled, its identity frame."""
        self._rounds = Rounds()
        # First: a client that finds `infer.sock` alone takes this for a daemon without a local socket.
        self._local = LocalPort(endpoints.local, handlers, self._tally)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._context = zmq.Context(io_threads=1)
        self._paths = [Path(e.removeprefix("ipc://")) for e in (endpoints.infer, endpoints.control, endpoints.events)]
        self._paths.append(endpoints.local)
        self._infer = self._bind(zmq.ROUTER, endpoints.infer)
        self._control = self._bind(zmq.ROUTER, endpoints.control)
        self._events = self._bind(zmq.PUB, endpoints.events)
        self._lost = self._monitor(self._infer)
        poller = zmq.Poller()
        for readable in (self._infer, self._control, self._lost, self._local.descriptor, self._wake):
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

    def _monitor(self, watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        """A socket that says when a connection of `watched` has ended, not which."""
        watched.monitor("inproc://lost", zmq.EVENT_DISCONNECTED)
        monitor = self._context.socket(zmq.PAIR)
        # No limit: at one, libzmq's own thread would wait for us.
        monitor.rcvhwm = 0
        monitor.connect("inproc://lost")
        return monitor

    # For every thread.

    def reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """A message to an app: to a local one it leaves now, to one of the inference socket with the next turn."""
        if identity.startswith(LOCAL):
            self._local.send(identity, frames)
        else:
            self._outbox.append((self._infer, (identity, *frames)))

    def answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue an answer to an operator on the control socket."""
        self._outbox.append((self._control, (identity, *frames)))

    def publish(self, frames: Sequence[Frame]) -> None:
        """Queue an event for everybody who listens."""
        self._outbox.append((self._events, frames))

    @property
    def waiting(self) -> bool:
        """Whether something waits for the next turn to send it."""
        return bool(self._outbox)

    def counters(self) -> Dropped:
        """How often something was refused or dropped here."""
        return self._tally.dropped()

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
        now_s = self._clock.now_s()
        if now_s >= self._rounds.due_s:
            self._look_after(now_s)
        for readable, _ in self._arrivals.wait(min(wait_s, self._rounds.due_s - now_s)):
            if readable == self._local.descriptor:
                self._local.turn()
            elif readable is self._infer:
                for sender, frames in self._arrived(self._infer):
                    self._sender = sender
                    self._handlers.infer(sender.bytes, frames)
            elif readable is self._control:
                for identity, frames in self._arrived(self._control):
                    self._handlers.control(identity.bytes, _peer(identity), frames)
            elif readable is self._lost:
                self._some_lost()
            else:
                os.eventfd_read(self._wake)
        if self._outbox:
            self._send_all()

    def _look_after(self, now_s: float) -> None:
        look, ask = self._rounds.due(now_s)
        if look:
            self._local.look_after()
        if ask:
            self._handlers.lost()

    def _some_lost(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._lost.recv_multipart(zmq.NOBLOCK)
        self._rounds.lost(self._clock.now_s())

    def pass_baton(self) -> None:
        """Release the baton. What somebody wanted to send who found it taken leaves first."""
        self.baton.release()
        while self._outbox and self.baton.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self.baton.release()

    def peer(self, identity: bytes) -> Peer:
        """Who the app is whose message is being handled."""
        if identity.startswith(LOCAL):
            return self._local.peer(identity)
        sender = self._sender
        return _peer(sender) if sender is not None and sender.bytes == identity else Peer(None, None)

    def reachable(self, identity: bytes) -> bool:
        """Whether an app is still connected. Over ZeroMQ, a send to one that is not fails."""
        if identity.startswith(LOCAL):
            return self._local.reachable(identity)
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
        for identity in self._backlogs:
            self._backlogs.retry(identity, functools.partial(self._send, self._infer))
        while self._outbox:
            socket, frames = self._outbox.popleft()
            if self._backlogs and socket is self._infer and bytes(frames[0]) in self._backlogs:
                self._backlogs.keep(bytes(frames[0]), frames)
            else:
                self._send(socket, frames)

    def _send(self, socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> bool:
        """True when the message is off our hands: sent, or its peer is gone."""
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            if socket is self._infer:
                self._backlogs.keep(bytes(frames[0]), frames)
                return False
            log.debug("dropped", to="operator or listener", reason="does not read")
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            if socket is self._infer:
                self._backlogs.forget(bytes(frames[0]))
                self._handlers.gone(bytes(frames[0]))
        return True

    def close(self, timeout_s: float) -> None:
        """Remove the socket files, let the last replies leave, close everything.

        A lane that keeps the baton for longer than `timeout_s` is stuck inside a block; its sockets end with the
        process.
        """
        # The first is `infer.sock`: without `local.sock` beside it, it would be taken for an older daemon's.
        for path in self._paths:
            path.unlink(missing_ok=True)
        if self.baton.acquire(timeout=timeout_s):
            try:
                self._send_all()
                self._local.close()
                self._infer.disable_monitor()
                for socket in (self._lost, self._infer, self._control, self._events):
                    socket.close(linger=LAST_WORDS_MS)
                self._context.term()
                self._close_wake()
            finally:
                self.baton.release()

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
