"""The request path on real sockets, without a control loop: tests take that one's part."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from blockstore.block import ORIGINAL, Artifact, Block, Model, Variant
from schedulerd.clock import SystemClock
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.engines.base import Engine
from schedulerd.serving.events import Event, Joined
from schedulerd.serving.executor import Executor
from schedulerd.serving.front import Front
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.lane import Lane
from schedulerd.serving.prefix import Prefixes
from schedulerd.serving.queue import DeadlineQueue
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.codec import decode_reply
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.messages import Ping
from tests.serving.parts import FRAME, LOGITS, NumpyEngine

TIMEOUT_MS = 10_000
VARIANT = Variant(ORIGINAL, ORIGINAL, (Artifact("onnxruntime", "0" * 64, 1),), 0.0, 1, 1)
MODELS = {"m": Model("m", FRAME, LOGITS, 0.95, 100, (Block(0, "b", FRAME, LOGITS, (VARIANT,)),))}


class Board:
    """Gateway, front and lanes on sockets in a directory; events that the control loop would get are kept."""

    def __init__(
        self, directory: Path, lanes: int = 1, models: Mapping[str, Model] = MODELS, engine: Engine | None = None
    ) -> None:
        clock = SystemClock()
        self.registry = Registry(most=8)
        self.queue = DeadlineQueue(length=4, per_app=4, clock=clock)
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.prefixes = Prefixes()
        users = frozenset({0, os.geteuid()})
        self.front = Front(models, self.registry, self.queue, self.events.put, users, clock, self.prefixes)
        self.endpoints = Endpoints.within(directory)
        self.gateway = Gateway(self.endpoints, self.front.handlers(), clock)
        self.front.attach(self.gateway)
        executor = Executor(engine or NumpyEngine(), clock, prefixes=self.prefixes)
        self.lanes = [Lane(n, self.gateway, self.queue, executor, clock) for n in range(lanes)]
        for lane in self.lanes:
            lane.start()

    def app(self, identity: bytes, route: LoadedRoute | None) -> LiveApp:
        """What the control loop does for a client that has registered."""
        event = self.events.get(timeout=TIMEOUT_MS / 1e3)
        assert isinstance(event, Joined)
        event.app.route = route
        return event.app

    def close(self) -> None:
        """Stop the lanes and close the sockets."""
        for lane in self.lanes:
            lane.stop()
        for lane in self.lanes:
            lane.join(10)
        self.gateway.close(5.0)


class Peer:
    """A bare DEALER: sends what it is told, whatever it is."""

    def __init__(self, endpoint: str, name: bytes = b"peer") -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.routing_id = name
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def ask(self, *frames: Any) -> Any:
        """The answer to a message."""
        self.socket.send_multipart(list(frames))
        return self.answer()

    def answer(self) -> Any:
        """The next message, which must come soon; a ping of the daemon's is none."""
        reply: Any = Ping(0)
        while isinstance(reply, Ping):
            assert self.socket.poll(TIMEOUT_MS), "no answer"
            reply, _ = decode_reply(self.socket.recv_multipart())
        return reply

    def close(self) -> None:
        """Vanish."""
        self._context.destroy(linger=0)
