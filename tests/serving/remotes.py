"""Operators on another machine, as far as one machine has them: real ports of loopback, keys in files, bare clients."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from schedulerd.clock import Clock, SystemClock
from schedulerd.serving.curve import RemotePort, Sockets, new_pair
from schedulerd.serving.door import Door, Limits
from schedulerd.serving.events import Asked, Event
from schedulerd.serving.operators import Operators
from schedulerd.wire.codec import encode
from schedulerd.wire.keys import Files, Pair, write_pair
from schedulerd.wire.messages import Answer
from schedulerd.wire.remote import Place
from tests.fakes import PATIENCE_S
from tests.serving.board import TIMEOUT_MS, Board, Peer

ANNA, BOB, EVE, SERVER = (new_pair() for _ in range(4))
"""Anna may change something, Bob may look, and nobody knows Eve."""
OPERATORS = Operators({ANNA.public: "anna", BOB.public: "bob"}, frozenset({"anna"}))
HANDSHAKES = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
HANDSHAKES |= zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class RemoteBoard:
    """A gateway with a door, and a control loop that answers every request with what it was."""

    def __init__(
        self,
        directory: Path,
        operators: Operators = OPERATORS,
        limits: Limits = Limits(),  # noqa: B008
        clock: Clock | None = None,
        address: str = "127.0.0.1:0",
    ) -> None:
        clock = clock or SystemClock()
        self.door = Door(address, clock, limits)
        self.board = Board(directory)
        self.port = RemotePort(self.door, Sockets.within(directory), SERVER.secret, operators, clock)
        self.board.gateway.attach(self.port)
        self.port.start(self.board.front.on_control)
        self.control, self.events, _ = Place.of(self.door.address)
        self.asked: list[Any] = []
        self._answering = threading.Thread(target=self._answer)
        self._answering.start()

    def _answer(self) -> None:
        while isinstance(event := self.board.events.get(), Asked):
            self.asked.append(event.request)
            answer = Answer(event.request.id, {"asked": type(event.request).__name__})
            self.board.gateway.answer(event.identity, encode(answer))
            self.board.gateway.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Anything that nobody asks for ends it.
        ending: queue.SimpleQueue[Any] = self.board.events  # type: ignore[assignment]
        ending.put(None)
        self._answering.join(PATIENCE_S)
        self.port.close(PATIENCE_S)
        self.board.close()


class RemotePeer(Peer):
    """A bare DEALER, or SUB, with keys of its own, or without any."""

    def __init__(
        self,
        endpoint: str,
        own: Pair | None,
        server: str = SERVER.public,
        name: bytes = b"peer",
        kind: int = zmq.DEALER,
    ) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.routing_id = name
        self.socket.linger = 0
        # Once is enough for a test; but with none to come, libzmq forgets what has arrived when a connection ends.
        self.socket.reconnect_ivl = 3_600_000
        if own is not None:
            self.socket.curve_serverkey = server.encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = own.public.encode(), own.secret.encode()
        self._monitor = self.socket.get_monitor_socket(HANDSHAKES | zmq.EVENT_DISCONNECTED)
        self.endpoint = endpoint

    def connect(self) -> int:
        """How the handshake ends, as an event of a monitor."""
        self.socket.connect(self.endpoint)
        return self.heard()

    def heard(self) -> int:
        """The next event."""
        assert self._monitor.poll(TIMEOUT_MS), "no handshake, and no end of one"
        return int(parse_monitor_message(self._monitor.recv_multipart())["event"])


def key_files(folder: Path, pairs: Mapping[str, Pair]) -> dict[str, Files]:
    """Files of keys by name."""
    return {name: write_pair(folder, name, pair) for name, pair in pairs.items()}


def is_gone(path: Path) -> bool:
    """Whether there is nothing of that name."""
    return not os.path.lexists(path)


__all__ = ["ANNA", "BOB", "EVE", "OPERATORS", "SERVER", "Event", "RemoteBoard", "RemotePeer", "is_gone", "key_files"]
