"""A daemon that follows a script: the real wire on real sockets, no models behind it.

It serves the local socket and ZeroMQ, as a daemon does; in a directory with a file `OLDER` only ZeroMQ, as a daemon
from before there was a local socket. It answers a frame with its first four numbers as float32, so that a test sees
which frame an answer belongs to. Run as a program it serves the directory it is given until it is killed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import zmq

from schedulerd.wire.codec import array_of, decode_request, encode, header_of
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.envelope import Frame, WireError, encode_event
from schedulerd.wire.messages import (
    Answer,
    Code,
    Failure,
    Infer,
    Ping,
    Pong,
    Register,
    Registered,
    Request,
    Result,
    SetBudget,
    TensorHeader,
    Unregister,
    Unregistered,
)
from tests.clients.fakelocal import Connection, Listener

PATIENCE_S = 10.0
"""After which a test that waits for something is broken."""
INPUT = TensorHeader("uint8", (2, 2))
OUTPUT = TensorHeader("float32", (4,))
OLDER = "older"


class Twist(Enum):
    """What a script does instead of answering as usual."""

    SILENT = auto()
    """No answer at all."""
    HOLD = auto()
    """The answer comes after that to the next request."""
    GARBAGE = auto()
    """Bytes that are no message, under no id."""


Script = Callable[[Request], Code | Twist | None]
Reply = Callable[[Sequence[Frame]], None]
"""Sends a message to one client."""


class FakeDaemon:
    """Serves the sockets of `directory` on a thread, from `with` to its end or to `stop`."""

    def __init__(self, directory: Path, script: Script = lambda request: None, credit: int = 0) -> None:
        self.requests: list[Request] = []
        """Everything that was asked, in order."""
        self._script = script
        self._credit = credit
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoints = Endpoints.within(directory)
        # First, so that no client finds only the others.
        self._listener = None if (directory / OLDER).exists() else Listener(endpoints.local)
        self.connections: dict[int, Connection] = {}
        """Of local clients, by descriptor."""
        self._infer = self._bind(zmq.ROUTER, endpoints.infer)
        self._control = self._bind(zmq.ROUTER, endpoints.control)
        self._events = self._bind(zmq.XPUB, endpoints.events)
        self._apps: dict[bytes, Register] = {}
        self._held: list[tuple[Reply, Sequence[Frame]]] = []
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish at once, as a killed process does: nothing is said, what was open stays unanswered."""
        self._stopped.set()
        self._thread.join(PATIENCE_S)
        self._context.destroy(linger=0)
        if self._listener is not None:
            self._listener.close()
        for connection in self.connections.values():
            connection.close()

    def wait_for(self, kind: type[Any], count: int = 1) -> None:
        """Return when that many requests of a kind have come."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.count(kind) >= count, PATIENCE_S)
        assert came, f"{count} x {kind.__name__} did not come; there came {self.requests}"

    def count(self, kind: type[Any]) -> int:
        """How many requests of a kind have come."""
        return sum(isinstance(request, kind) for request in self.requests)

    def _bind(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.bind(endpoint)
        return socket

    def _serve(self) -> None:
        poller = zmq.Poller()
        for socket in (self._infer, self._control, self._events):
            poller.register(socket, zmq.POLLIN)
        if self._listener is not None:
            poller.register(self._listener.socket, zmq.POLLIN)
        while not self._stopped.is_set():
            for ready, _ in poller.poll(5):
                if isinstance(ready, int):
                    self._serve_local(ready, poller)
                    continue
                message = ready.recv_multipart()
                if ready is self._events:
                    self._publish(message[0])
                else:
                    identity, *frames = message
                    self._respond(identity, frames, partial(_send_routed, ready, identity))

    def _serve_local(self, descriptor: int, poller: zmq.Poller) -> None:
        connection = self.connections.get(descriptor)
        if connection is None:
            assert self._listener is not None
            connection = self._listener.accept(PATIENCE_S)
            self.connections[connection.socket.fileno()] = connection
            poller.register(connection.socket, zmq.POLLIN)
            return
        frames = connection.receive()
        if frames:
            self._respond(b"local-%d" % descriptor, frames, connection.send)
        else:
            poller.unregister(connection.socket)
            self._apps.pop(b"local-%d" % descriptor, None)
            self.connections.pop(descriptor).close()

    def _publish(self, subscription: bytes) -> None:
        """Three events for whoever subscribes to a topic, after one of another topic."""
        if subscription[:1] == b"\x01":
            kind = subscription[1:].decode()
            for seq in (1, 2, 3):
                self._events.send_multipart(encode_event(kind, {"of": kind}, seq=seq, at=1e9 + seq))

    def _respond(self, identity: bytes, frames: Sequence[Frame], send: Reply) -> None:
        try:
            request, buffers = decode_request(frames)
        except WireError as error:
            send(encode(Failure(error.id, error.code, str(error))))
            return
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        twist = self._script(request)
        reply = self._reply(identity, request, buffers, twist)
        if twist is Twist.SILENT:
            return
        if twist is Twist.HOLD:
            self._held.append((send, reply))
            return
        # The daemon's probe may come between any two messages.
        send(encode(Ping(0)))
        send(reply)
        while self._held:
            send_held, held = self._held.pop(0)
            send_held(held)

    def _reply(
        self, identity: bytes, request: Request, buffers: Sequence[memoryview], twist: Code | Twist | None
    ) -> Sequence[bytes | memoryview]:
        if twist is Twist.GARBAGE:
            return [b"\xc1 not a message"]
        if isinstance(twist, Code):
            return encode(Failure(request.id, twist, f"scripted {twist}"))
        if isinstance(request, Register):
            return encode(self._register(identity, request))
        if isinstance(request, Infer):
            return self._result(identity, request, buffers)
        if isinstance(request, Unregister):
            self._apps.pop(identity, None)
            return encode(Unregistered(request.id))
        if isinstance(request, Ping):
            return encode(Pong(request.id))
        result = {"asked": type(request).__name__}
        return encode(Answer(request.id, {**result, "app": request.app} if isinstance(request, SetBudget) else result))

    def _register(self, identity: bytes, request: Register) -> Registered | Failure:
        if identity in self._apps:
            return Failure(request.id, Code.ALREADY_REGISTERED, "this connection has an app")
        self._apps[identity] = request
        return Registered(
            id=request.id,
            app=request.app or f"{request.model}-made",
            model=request.model,
            input=INPUT,
            output=OUTPUT,
            labels=("zero", "one", "two", "three"),
            route=("original", "pruned-50"),
            accuracy=0.9,
            latency_ms=1.0,
            latency_p95_ms=2.0,
            miss_ms=0.0,
            plan=1,
            credit=self._credit,
        )

    def _result(self, identity: bytes, request: Infer, buffers: Sequence[memoryview]) -> Sequence[bytes | memoryview]:
        app = self._apps.get(identity)
        if app is None:
            return encode(Failure(request.id, Code.NOT_REGISTERED, "register first"))
        outputs = array_of(request.tensors[0], buffers[0]).reshape(1, -1)[:, :4].astype(np.float32)
        result = Result(
            id=request.id,
            tensors=(header_of(outputs),),
            plan=1,
            route=("original", "pruned-50"),
            accuracy=0.9,
            queue_ms=0.25,
            run_ms=1.5,
            budget_ms=app.budget_ms,
            deadline_met=True,
        )
        return encode(result, (outputs,))


def _send_routed(socket: zmq.Socket[bytes], identity: bytes, frames: Sequence[Frame]) -> None:
    socket.send_multipart([identity, *frames])


def frame(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame that its answer can be told by: `outputs[0]` is `[number, 1, 2, 3]`."""
    return np.array([[number, 1], [2, 3]], np.uint8)


if __name__ == "__main__":
    with FakeDaemon(Path(sys.argv[1])):
        print("ready", flush=True)
        time.sleep(60)
