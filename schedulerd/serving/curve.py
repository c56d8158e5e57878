"""Operators on other machines: the control socket and the events once more, with CURVE, behind the `Door`.

Sockets of their own, though libzmq would let a ROUTER that is bound to ipc be bound with CURVE too: a stranger could
take the name of a local operator's connection there, and the text of an IPv6 address such as 1:1000::5 could be read as
the user id 1000 in that of an ipc peer. And a context and a thread of their own, so that no lane is kept from its
blocks by what a network sends. Who is let in is asked here too (`zap`). libzmq asks nobody where no such socket is
bound, and lets in everybody: so that one comes first, and it is told to refuse without (ZMQ_ZAP_ENFORCE_DOMAIN).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from schedulerd.clock import Clock
from schedulerd.errors import SchedulerdError
from schedulerd.serving.backlog import BACKLOG
from schedulerd.serving.door import Door
from schedulerd.serving.handlers import Frame, Peer
from schedulerd.serving.operators import Operators, Remote
from schedulerd.serving.pace import Pace
from schedulerd.serving.refusals import Refusals
from schedulerd.serving.topics import Topics
from schedulerd.serving.zap import DOMAIN, rule
from schedulerd.wire.keys import Pair
from schedulerd.wire.messages import MAX_HEADER_BYTES

log = structlog.get_logger(__name__)

HARD_FRAME_BYTES: Final = 2 * MAX_HEADER_BYTES
"""Requests of operators have no tensors; libzmq ends a connection over this without a word."""
HARD_TOPIC_BYTES: Final = 1024
"""A listener sends topics alone, and in the handshake a name and a key."""
FRAMES_KEPT: Final = 2
"""Of a message: one is too many, and is seen."""
HANDSHAKE_MS: Final = 5000
"""For a handshake that does not go on."""
HEARTBEAT_MS: Final = 2000
HEARTBEAT_TIMEOUT_MS: Final = 10_000
"""A wireless network may be silent for a few seconds."""
ARRIVALS: Final = 64
REQUESTS_A_SECOND: Final = 100.0
"""Of all remote operators together, in the long run: each is work for the control loop, which local operators and apps
that register wait for too. `schedctl top` asks 6 a second. Others wait in libzmq, which takes turns among senders."""
REQUESTS_AT_ONCE: Final = 200
"""After a quiet while."""
EVENTS_KEPT: Final = 1000
LAST_WORDS_MS: Final = 500
EVENTS_PORT: Final = 1
"""Of the door's two."""
_REFUSED: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "its key is not allowed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it has another public key of this daemon, or speaks no CURVE",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it ended the handshake, or took too long for it",
}

Handler = Callable[[bytes, Peer, Sequence[Frame]], None]
"""A message of an operator: identity, peer, frames. It must not wait."""


class Sockets(NamedTuple):
    """Files in the runtime directory that the door passes connections on to; for this user alone."""

    control: Path
    events: Path

    @staticmethod
    def within(directory: Path) -> Sockets:
        """Those of the daemon that runs in `directory`."""
        # No longer than `control.sock`, whose path the system has room for.
        return Sockets(directory / "remote0.sock", directory / "remote1.sock")


def new_pair() -> Pair:
    """A pair of CURVE keys that nobody has had."""
    _check_curve()
    public, secret = zmq.curve_keypair()
    return Pair(public.decode("ascii"), secret.decode("ascii"))


class RemotePort:
    """Answers remote operators on a thread of its own, from `start` to `close`."""

    def __init__(self, door: Door, paths: Sockets, secret_key: str, operators: Operators, clock: Clock) -> None:
        """Args: door: in front of the sockets; paths: of the sockets; secret_key: Z85; operators: let in; clock.

        Raises `SchedulerdError` where the sockets cannot be made.
        """
        _check_curve()
        self._door = door
        self._paths = paths
        self._operators = operators
        self._clock = clock
        self._outbox: deque[tuple[bool, Sequence[Frame]]] = deque()
        """Whether it is an event, and the frames."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._ending = False
        self._refusals = Refusals(clock)
        self._pace = Pace(REQUESTS_A_SECOND, REQUESTS_AT_ONCE, clock.now_s())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind("inproc://zeromq.zap.01")
        self._control = self._bound(zmq.ROUTER, paths.control, secret_key)
        self._events = self._bound(zmq.XPUB, paths.events, secret_key)
        self._topics = Topics()
        self._monitors = [self._monitor(self._control, "control"), self._monitor(self._events, "events")]
        self._thread = threading.Thread(target=self._run, name="remote", daemon=True)

    def _bound(self, kind: int, path: Path, secret_key: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = HARD_TOPIC_BYTES if kind == zmq.XPUB else HARD_FRAME_BYTES
        socket.rcvhwm = ARRIVALS
        socket.sndhwm = EVENTS_KEPT if kind == zmq.XPUB else BACKLOG
        socket.heartbeat_ivl = HEARTBEAT_MS
        socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        socket.handshake_ivl = HANDSHAKE_MS
        if kind == zmq.ROUTER:
            socket.router_mandatory = True
        socket.curve_server = True
        socket.curve_secretkey = secret_key.encode("ascii")
        socket.zap_domain = DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            socket.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise SchedulerdError(f"cannot listen on {path}: {error.strerror}; choose another --runtime") from error
        path.chmod(0o600)
        return socket

    def _monitor(self, watched: zmq.Socket[bytes], name: str) -> zmq.Socket[bytes]:
        """A socket that says why a connection of `watched` did not come about."""
        watched.monitor(f"inproc://refused-{name}", sum(_REFUSED))
        monitor = self._context.socket(zmq.PAIR)
        # No limit: at one, libzmq's own thread would wait for us.
        monitor.rcvhwm = 0
        monitor.connect(f"inproc://refused-{name}")
        return monitor

    # For every thread.

    def start(self, handler: Handler) -> None:
        """Let the door open; `handler` is called on our thread."""
        self._handler = handler
        self._thread.start()
        self._door.open(*self._paths)

    def answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue an answer to an operator."""
        self._outbox.append((False, (bytes(identity), *frames)))
        self._stir()

    def publish(self, frames: Sequence[Frame]) -> None:
        """Queue an event for everybody who listens."""
        self._outbox.append((True, frames))
        self._stir()

    def admit(self, operators: Operators) -> None:
        """Let in these from now on.

        Where somebody is no longer among them, nobody hears of events until he comes back: libzmq cannot end the
        connection of one listener. On the control socket whoever asks is looked up each time.
        """
        before, self._operators = self._operators, operators
        if operators.lack(before):
            self._door.hang_up(EVENTS_PORT)

    def close(self, timeout_s: float) -> None:
        """Let the last answers leave, close everything. Safe to call twice."""
        if self._wake < 0:
            return
        self._ending = True
        self._stir()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return  # its sockets end with the process
        self._close_sockets()
        self._door.close(timeout_s)
        for path in self._paths:
            path.unlink(missing_ok=True)
        with self._wake_lock:
            os.close(self._wake)
            self._wake = -1

    def _stir(self) -> None:
        with self._wake_lock, contextlib.suppress(BlockingIOError):
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    # The thread.

    def _run(self) -> None:
        poller = zmq.Poller()
        for source in (self._zap, self._events, *self._monitors, self._wake):
            poller.register(source, zmq.POLLIN)
        while not self._ending:
            wait_s = self._pace.wait_s(self._clock.now_s())
            poller.register(self._control, 0 if wait_s else zmq.POLLIN)
            try:
                self._turn([source for source, _ in poller.poll(math.ceil(1e3 * wait_s) if wait_s else None)])
            except Exception:
                log.exception("remote_failed")
                self._clock.wait(threading.Event(), 1.0)
        self._send_all()

    def _turn(self, ready: Sequence[object]) -> None:
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._zap in ready:
            self._rule()
        if self._control in ready:
            self._take_in()
        if self._events in ready:
            self._listen()
        for monitor in self._monitors:
            if monitor in ready:
                self._heed(monitor)
        self._send_all()

    def _rule(self) -> None:
        """One connection is let in, or is not."""
        ruling = rule(self._zap.recv_multipart(), self._operators.names)
        self._zap.send_multipart(ruling.reply)
        if ruling.name is not None:
            log.info("remote_operator", operator=ruling.name, lately_from=list(self._door.lately)[-1:])

    def _take_in(self) -> None:
        """Every message that is there, up to a number, and as far as more may come now."""
        for _ in range(ARRIVALS):
            now_s = self._clock.now_s()
            if self._pace.wait_s(now_s):
                return
            try:
                identity = self._control.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._pace.take(now_s)
            frames = list(self._rest(identity))
            self._handle(identity, frames)

    def _rest(self, first: zmq.Frame) -> Iterator[bytes]:
        """The frames after the first, as many as it takes to see that they are too many."""
        more, count = first.more, 0
        while more:
            frame = self._control.recv(copy=False)
            more, count = frame.more, count + 1
            if count <= FRAMES_KEPT:
                yield frame.bytes

    def _handle(self, identity: zmq.Frame, frames: Sequence[Frame]) -> None:
        """What somebody says whose key was let in, and may be so no more."""
        operators = self._operators
        name = operators.names.get(str(identity.get("User-Id")))
        peer = Peer(None, None, operator=name, may_edit=name in operators.in_control)
        self._handler(Remote(identity.bytes), peer, frames)

    def _listen(self) -> None:
        """Topics that listeners want, or want no more. Whose are too many takes all with him: see `admit`."""
        with contextlib.suppress(zmq.Again):
            for _ in range(ARRIVALS):
                frame = self._events.recv(zmq.NOBLOCK, copy=False)
                if not self._topics.heed(frame.bytes):
                    name = self._operators.names.get(str(frame.get("User-Id")))
                    self._refusals.note(f"{name} listens to more topics than there are", list(self._door.lately))
                    self._door.hang_up(EVENTS_PORT)

    def _heed(self, monitor: zmq.Socket[bytes]) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["event"]
                reason = _REFUSED.get(event)
                if reason is not None:
                    self._refusals.note(reason, list(self._door.lately))

    def _send_all(self) -> None:
        while self._outbox:
            is_event, frames = self._outbox.popleft()
            try:
                (self._events if is_event else self._control).send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                log.debug("dropped", to="remote operator", reason="does not read")
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise

    def _close_sockets(self) -> None:
        for watched in (self._control, self._events):
            watched.disable_monitor()
        for socket in (*self._monitors, self._zap):
            socket.close(linger=0)
        for socket in (self._control, self._events):
            socket.close(linger=LAST_WORDS_MS)
        self._context.term()


def _check_curve() -> None:
    if not zmq.has("curve"):
        raise SchedulerdError(
            f"this libzmq {zmq.zmq_version()} was built without CURVE, so nobody can be told from anybody over tcp; "
            "install pyzmq from PyPI, or set [remote] listen to off"
        )
