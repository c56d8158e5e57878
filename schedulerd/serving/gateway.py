"""What comes in and what goes out, over the ports of both transports (`zmqport`, `local`).

A socket is used by one thread at a time: the lane that holds the *baton*. An idle lane takes it and waits on the
sockets itself, so that on a board with one lane a request crosses no thread between its arrival and its reply
(leader/followers, Schmidt et al., "Pattern-Oriented Software Architecture 2", 2000). ZeroMQ allows a socket to move
between threads with a full fence (zmq_socket(3), "Thread safety"), which acquiring the baton is.

Everybody else says what should be sent, from any thread (`reply`, `answer`, `publish`). What is for a local client
leaves at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence, Sized
from pathlib import Path
from select import EPOLLIN, epoll
from typing import TYPE_CHECKING, Final

from schedulerd.clock import Clock
from schedulerd.serving.counters import Dropped, Tally
from schedulerd.serving.handlers import Frame, Handlers, Peer
from schedulerd.serving.local import LOCAL, LocalPort
from schedulerd.serving.operators import Remote
from schedulerd.serving.rounds import Rounds
from schedulerd.serving.spin import SpinningWait
from schedulerd.serving.zmqport import ZmqPort
from schedulerd.wire.endpoints import Endpoints

if TYPE_CHECKING:
    from schedulerd.serving.curve import RemotePort

LOOKS_PER_TURN: Final = 8
"""How often one turn takes in what has arrived meanwhile: no flood keeps blocks from running."""


class Gateway:
    """Both ports, one wait for all that may arrive at them, and the baton."""

    def __init__(self, endpoints: Endpoints, handlers: Handlers, clock: Clock, *, may_spin: bool = False) -> None:
        """Args: endpoints; handlers; clock; may_spin: whether the waiting lane may spin (see `spin`)."""
        self.baton = threading.Lock()
        self._handlers = handlers
        self._tally = Tally()
        self._clock = clock
        self._rounds = Rounds()
        self._watcher = epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self.alive_at_s = clock.now_s()
        """When the last turn began that has come to its end; the watchdog reads it."""
        self._watcher.register(self._wake, EPOLLIN)
        # First: a client that finds `infer.sock` alone takes this for a daemon without a local socket.
        self._local = LocalPort(endpoints.local, handlers, self._tally, self._watcher)
        self._zmq = ZmqPort(endpoints, handlers, self._tally, self._rounds, clock, self._watcher)
        self.outbox: Final[Sized] = self._zmq.outbox
        """What waits for the next turn to send it. No property: it is looked at between blocks of microseconds."""
        self._paths = [Path(e.removeprefix("ipc://")) for e in (endpoints.infer, endpoints.control, endpoints.events)]
        self._remote: RemotePort | None = None
        self._arrivals = SpinningWait(self._watcher.poll, clock, may_spin=may_spin, wake=self._wake)

    # For every thread.

    def reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """A message to an app: to a local one it leaves now, to one of the inference socket with the next turn."""
        if identity.startswith(LOCAL):
            self._local.send(identity, frames)
        else:
            self._zmq.reply(identity, frames)

    def answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Queue an answer to an operator on the control socket, or on another machine."""
        if isinstance(identity, Remote):
            # Never to the control socket, where an operator here may have the same name.
            assert self._remote is not None, "attach() comes before the first message"
            self._remote.answer(identity, frames)
        else:
            self._zmq.answer(identity, frames)

    def publish(self, frames: Sequence[Frame]) -> None:
        """Queue an event for everybody who listens."""
        self._zmq.publish(frames)
        if self._remote is not None:
            self._remote.publish(frames)

    def attach(self, remote: RemotePort) -> None:
        """Operators on other machines are answered too, and hear of events."""
        self._remote = remote

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

        Runs between blocks, so the case of nothing to do is one call of epoll_wait(2).
        """
        if self.outbox or self._zmq.kept:
            self._zmq.send_all()
        now_s = self._clock.now_s()
        if now_s >= self._rounds.due_s:
            self._look_after(now_s)
        if self._zmq.take_in():
            wait_s = 0.0
        ready = self._arrivals.wait(min(wait_s, self._rounds.due_s - now_s))
        for _ in range(LOOKS_PER_TURN):
            if not ready:
                break
            for descriptor in self._local.serve(ready):
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._zmq.stirred(descriptor)
            self._zmq.take_in()
            ready = self._watcher.poll(0)
        if self.outbox:
            self._zmq.send_all()
        self.alive_at_s = now_s

    def _look_after(self, now_s: float) -> None:
        look, ask = self._rounds.due(now_s)
        if look:
            self._local.look_after()
        if ask:
            self._handlers.lost()

    def pass_baton(self) -> None:
        """Release the baton. What somebody wanted to send who found it taken leaves first."""
        self.baton.release()
        while self.outbox and self.baton.acquire(blocking=False):
            try:
                self._zmq.send_all()
            finally:
                self.baton.release()

    def peer(self, identity: bytes) -> Peer:
        """Who the app is whose message is being handled."""
        return self._local.peer(identity) if identity.startswith(LOCAL) else self._zmq.peer(identity)

    def reachable(self, identity: bytes) -> bool:
        """Whether an app is still connected."""
        return self._local.reachable(identity) if identity.startswith(LOCAL) else self._zmq.reachable(identity)

    def close(self, timeout_s: float) -> None:
        """Remove the socket files, let the last replies leave, close everything.

        A lane that keeps the baton for longer than `timeout_s` is stuck inside a block; its sockets end with the
        process.
        """
        # `infer.sock` before `local.sock`: without that beside it, it would be taken for an older daemon's.
        for path in (*self._paths, self._local.path):
            path.unlink(missing_ok=True)
        if self.baton.acquire(timeout=timeout_s):
            try:
                self._zmq.send_all()
                self._local.close()
                self._zmq.close()
                self._close_wake()
                self._watcher.close()
            finally:
                self.baton.release()

    def _close_wake(self) -> None:
        with self._wake_lock:
            os.close(self._wake)
            self._wake = -1
