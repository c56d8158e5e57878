"""The local socket: apps on this machine send frames in memory that they share, and are told at once when we end.

An AF_UNIX socket of packets (`wire.local`) costs a request less than ZeroMQ, which has a thread of its own between the
socket and us: the lane that waits reads from the client, and the lane that has the answer writes to it. The kernel
tells when a client has ended, so nobody needs to ask it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from schedulerd.errors import SchedulerdError
from schedulerd.serving.counters import Tally
from schedulerd.serving.handlers import Frame, Handlers, Peer
from schedulerd.serving.incoming import Ended, Incoming, Unfit
from schedulerd.serving.outgoing import Outgoing
from schedulerd.serving.stopped import StoppedWatch
from schedulerd.wire.codec import encode
from schedulerd.wire.local import MAX_PACKET_BYTES, BadPacket, pack_inline
from schedulerd.wire.messages import Code, Failure

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 256
"""Twice as many as apps can be planned together. Each takes a descriptor, and one for each of its rings."""
MOST_OF_USER: Final = 192
"""Of them, so that one user's programs leave room for those of others."""
LEFT_UNREAD: Final = 8
"""Packets that are taken from somebody who is refused, so that our last word is not lost."""
LOCAL: Final = b"\0local"
"""Begins the identity of a local client. What libzmq makes up for others is shorter, so the two are never confused."""
_CREDENTIALS: Final = struct.Struct("3i")


class _Client(NamedTuple):
    identity: bytes
    descriptor: int
    peer: Peer
    incoming: Incoming
    outgoing: Outgoing


class LocalPort:
    """The listening socket and its connections. All methods but `send` are for the holder of the gateway's baton."""

    def __init__(
        self,
        path: Path,
        handlers: Handlers,
        tally: Tally,
        watcher: select.epoll,
        *,
        most: int = MAX_CONNECTIONS,
        most_of_user: int = MOST_OF_USER,
    ) -> None:
        """Listens on `path`. A file that is there is from a daemon that is gone: a live one holds the lock.

        `watcher` looks at the socket and its connections; what it finds of them is for `serve`.

        Raises:
            SchedulerdError: nothing can listen there.
        """
        self.path = path
        self._handlers = handlers
        self._tally = tally
        self._stopped = StoppedWatch(Path("/proc"))
        self._most, self._most_of_user = most, most_of_user
        self._clients: dict[bytes, _Client] = {}
        self._by_descriptor: dict[int, _Client] = {}
        self._heard: set[bytes] = set()
        """Who has sent something since `look_after`."""
        # A ZeroMQ client chooses its own identity, so none of ours may be guessed.
        secret = os.urandom(8)
        self._identities = (LOCAL + secret + number.to_bytes(8) for number in count())
        self._buffer = memoryview(bytearray(MAX_PACKET_BYTES))
        self._watcher = watcher
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listening = False
        try:
            path.unlink(missing_ok=True)
            self._listener.bind(str(path))
            path.chmod(0o660)
            self._listener.listen(MAX_CONNECTIONS)
        except OSError as error:
            self._listener.close()
            raise SchedulerdError(f"cannot listen on {path}: {error.strerror}; choose another --runtime") from error
        self._listen()

    def send(self, identity: bytes, frames: Sequence[Frame]) -> bool:
        """From any thread: send a message, or keep it until the client reads; False where it is dropped or gone."""
        client = self._clients.get(identity)
        return client is not None and client.outgoing.send(frames)

    def serve(self, ready: Sequence[tuple[int, int]]) -> list[int]:
        """Take in one packet of each connection that is ready, and who connects; the descriptors that are not ours.

        Args: ready: descriptors and events, as the watcher gives them.
        """
        others: list[int] = []
        newcomers = False
        for descriptor, events in ready:
            client = self._by_descriptor.get(descriptor)
            if client is not None:
                self._serve(client, events)
            elif descriptor == self._listener.fileno():
                newcomers = True
            else:
                others.append(descriptor)
        # At the end: who has left before they came made room for them.
        if newcomers:
            self._accept()
        return others

    def look_after(self) -> None:
        """Every `LOOK_EVERY_S`: end connections of processes that stand still, listen again where that had to pause."""
        silent = {client.identity: client.peer.pid for client in self._clients.values()}
        for identity in self._heard & silent.keys():
            del silent[identity]
        self._heard.clear()
        for identity in self._stopped.look(silent):
            log.info("client_stopped", pid=silent[identity])
            self._end(self._clients[identity])
        if not self._listening:
            self._listen()

    def reachable(self, identity: bytes) -> bool:
        """Whether a client's end of the connection is open at this moment."""
        client = self._clients.get(identity)
        if client is None:
            return False
        now = select.poll()
        now.register(client.descriptor, select.POLLRDHUP)
        return not now.poll(0)

    def peer(self, identity: bytes) -> Peer:
        """Who has connected."""
        client = self._clients.get(identity)
        return client.peer if client is not None else Peer(None, None)

    def close(self) -> None:
        """End every connection and remove the socket's file."""
        for client in tuple(self._clients.values()):
            self._forget(client)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        self._watcher.register(self._listener.fileno(), select.EPOLLIN)
        self._listening = True

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # No descriptor is left: the client waits, and we must not look at it again and again.
            log.warning("connection_put_off", reason=error.strerror, connections=len(self._clients))
            self._watcher.unregister(self._listener.fileno())
            self._listening = False
            return
        connected.setblocking(False)
        pid, uid, _ = _CREDENTIALS.unpack(
            connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        of_user = sum(client.peer.uid == uid for client in self._clients.values())
        if len(self._clients) >= self._most:
            self._refuse(connected, f"{len(self._clients)} clients are connected")
            return
        if of_user >= self._most_of_user:
            self._refuse(connected, f"{of_user} clients of user {uid} are connected")
            return
        outgoing = Outgoing(connected, self._watcher, self._tally)
        # The kernel gives 0 for a process that cannot be seen from here (pid_namespaces(7)).
        peer = Peer(uid, pid or None)
        client = _Client(next(self._identities), connected.fileno(), peer, Incoming(connected), outgoing)
        self._clients[client.identity] = self._by_descriptor[client.descriptor] = client

    def _refuse(self, connected: socket.socket, problem: str) -> None:
        self._tally.add("connections")
        text = f"{problem}, which is the limit; connect when one has left"
        with connected, contextlib.suppress(OSError):
            connected.sendmsg(pack_inline(encode(Failure(0, Code.OVERLOADED, text))), [], socket.MSG_NOSIGNAL)
            # Closing with something unread is a reset, which the client would see before our last word.
            for _ in range(LEFT_UNREAD):
                connected.recv(1)

    def _serve(self, client: _Client, events: int) -> None:
        if events & select.EPOLLOUT:
            client.outgoing.flush()
        try:
            frames = client.incoming.receive(self._buffer)
        except Ended:
            self._end(client)
            return
        except BadPacket as error:
            self._tally.add("packets")
            client.outgoing.send(encode(Failure(0, Code.BAD_MESSAGE, f"no packet: {error}; connect anew")))
            self._end(client)
            return
        except Unfit as unfit:
            self._tally.add("packets" if unfit.header else "rings")
            self._handlers.unfit(client.identity, unfit.header, unfit.code, str(unfit))
            return
        self._heard.add(client.identity)
        if frames is not None:
            self._handlers.infer(client.identity, frames)

    def _end(self, client: _Client) -> None:
        self._forget(client)
        self._handlers.gone(client.identity)

    def _forget(self, client: _Client) -> None:
        del self._clients[client.identity], self._by_descriptor[client.descriptor]
        client.outgoing.close()
