"""The ZeroMQ sockets: the only place in the daemon that speaks it. All but the outbox is for the holder of the baton.

libzmq's descriptor of a socket only says that its events *may* have changed (ZMQ_FD in zmq_getsockopt(3)), and using
the socket takes that word back. So a socket is asked for its events after its descriptor stirred and after each use;
while neither happens, a wait costs nothing here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from select import EPOLLIN, epoll
from typing import Final

import structlog
import zmq

from schedulerd.clock import Clock
from schedulerd.errors import SchedulerdError
from schedulerd.serving.backlog import BACKLOG, Backlogs
from schedulerd.serving.counters import Tally
from schedulerd.serving.handlers import Frame, Handlers, Peer
from schedulerd.serving.rounds import Rounds
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


class ZmqPort:
    """Three sockets (infer, control, events), what libzmq says of lost connections, and an outbox for every thread."""

    def __init__(
        self, endpoints: Endpoints, handlers: Handlers, tally: Tally, rounds: Rounds, clock: Clock, watcher: epoll
    ) -> None:
        """Binds the sockets and has `watcher` look at them; `rounds` is told of lost connections.

        Raises:
            SchedulerdError: nothing can listen at one of the endpoints.
        """
        self._handlers = handlers
        self._rounds = rounds
        self._clock = clock
        self.outbox: Final[deque[tuple[zmq.Socket[bytes], Sequence[Frame]]]] = deque()
        """What is queued for the next turn, by any thread."""
        self._backlogs = Backlogs(tally)
        self._sender: zmq.Frame | None = None
        """Of the message on the inference socket that is being handled, its identity frame."""
        self._context = zmq.Context(io_threads=1)
        self._infer = self._bind(zmq.ROUTER, endpoints.infer)
        self._control = self._bind(zmq.ROUTER, endpoints.control)
        self._events = self._bind(zmq.PUB, endpoints.events)
        self._lost = self._monitor(self._infer)
        self._read = {int(s.getsockopt(zmq.FD)): s for s in (self._infer, self._control, self._lost)}
        self._unsure = set(self._read.values())
        """Sockets that may have something to read."""
        for descriptor in self._read:
            watcher.register(descriptor, EPOLLIN)

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
        """Queue a message to an app."""
        self.outbox.append((self._infer, (identity, *frames)))

    def answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue an answer to an operator on the control socket."""
        self.outbox.append((self._control, (identity, *frames)))

    def publish(self, frames: Sequence[Frame]) -> None:
        """Queue an event for everybody who listens."""
        self.outbox.append((self._events, frames))

    # For the holder of the baton.

    def send_all(self) -> None:
        """Send what is queued, and again what libzmq did not take."""
        for identity in self._backlogs:
            self._backlogs.retry(identity, functools.partial(self._send, self._infer))
        while self.outbox:
            socket, frames = self.outbox.popleft()
            if self._backlogs and socket is self._infer and bytes(frames[0]) in self._backlogs:
                self._backlogs.keep(bytes(frames[0]), frames)
            else:
                self._send(socket, frames)

    def stirred(self, descriptor: int) -> None:
        """The watcher says that a descriptor is readable."""
        self._unsure.add(self._read[descriptor])

    def take_in(self) -> bool:
        """Hand over what has arrived, of each socket `MESSAGES_PER_TURN` at most; whether there was anything."""
        found = False
        for socket in tuple(self._unsure):
            if not self._has_some(socket):
                self._unsure.discard(socket)
                continue
            found = True
            if socket is self._infer:
                for sender, frames in self._arrived(socket):
                    self._sender = sender
                    self._handlers.infer(sender.bytes, frames)
            elif socket is self._control:
                for identity, frames in self._arrived(socket):
                    self._handlers.control(identity.bytes, _peer(identity), frames)
            else:
                self._some_lost()
        return found

    def peer(self, identity: bytes) -> Peer:
        """Who the app is whose message is being handled."""
        sender = self._sender
        return _peer(sender) if sender is not None and sender.bytes == identity else Peer(None, None)

    def reachable(self, identity: bytes) -> bool:
        """Whether an app is still connected: a send to one that is not fails."""
        self._unsure.add(self._infer)
        try:
            self._infer.send_multipart((identity, *encode(Ping(0))), zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return False
        return True

    def close(self) -> None:
        """Let the last replies leave, close everything."""
        self.send_all()
        self._infer.disable_monitor()
        for socket in (self._lost, self._infer, self._control, self._events):
            socket.close(linger=LAST_WORDS_MS)
        self._context.term()

    @staticmethod
    def _has_some(socket: zmq.Socket[bytes]) -> bool:
        return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

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
            if not self._has_some(socket):
                return

    def _some_lost(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._lost.recv_multipart(zmq.NOBLOCK)
        self._rounds.lost(self._clock.now_s())

    def _send(self, socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> bool:
        """True when the message is off our hands: sent, or its peer is gone."""
        if socket is not self._events:
            self._unsure.add(socket)
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

    @property
    def kept(self) -> bool:
        """Whether something is kept that libzmq did not take."""
        return bool(self._backlogs)


def _peer(identity: zmq.Frame) -> Peer:
    """libzmq gives the address of an ipc peer as `host:uid:gid:pid` (zmq_ipc(7), "Peer credentials")."""
    parts = str(identity.get("Peer-Address")).split(":")
    if len(parts) != 4 or not parts[1].isdigit() or not parts[3].isdigit():
        return Peer(None, None)
    return Peer(uid=int(parts[1]), pid=int(parts[3]))
