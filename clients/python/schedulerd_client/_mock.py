"""A daemon that is a function, for tests of apps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from schedulerd.wire.codec import Array, array_of, decode_request, encode, header_of
from schedulerd.wire.envelope import Frame
from schedulerd.wire.messages import (
    FINAL,
    MAX_BUDGET_MS,
    Code,
    Failure,
    Infer,
    Message,
    Pong,
    Register,
    Registered,
    Request,
    Result,
    TensorHeader,
    Unregister,
    Unregistered,
)
from schedulerd_client._errors import Refusal
from schedulerd_client._transport import Incoming, Silence

Given = Array | tuple[Array, ...]


class MockTransport:
    """`Client(transport=MockTransport(handler))`: `handler` takes a frame and gives the model's output.

    For a model with several, `outputs` describes them and `handler` gives a tuple, in the same order. For a model with
    exits, `exits` names them, by rising depth, and `handler` gives such outputs by exit, `final` among them; frames
    leave there, unless they ask for others. For an app with a camera, `handler` takes the camera's frames.
    Messages go through the real codec, and frames are checked against `input` as a daemon checks them. A `Refusal`
    that the handler raises is answered as the daemon's; any other exception comes out of the call. `requests` are
    those that the app made, in order. No time passes.
    """

    def __init__(
        self,
        handler: Callable[[Array], Given | Mapping[str, Given]],
        *,
        input: TensorHeader = TensorHeader("uint8", (32, 32, 3)),  # noqa: A002, B008 (as in Registration; frozen)
        output: TensorHeader = TensorHeader("float32", (10,)),  # noqa: B008 (frozen)
        outputs: tuple[TensorHeader, ...] = (),
        labels: tuple[str, ...] = (),
        route: tuple[str, ...] = ("original",),
        accuracy: float = 1.0,
        exits: tuple[str, ...] = (),
    ) -> None:
        self.requests: list[Request] = []
        self._handler = handler
        self._input = input
        self._output = output
        self._outputs = outputs
        self._labels = labels
        self._route = route
        self._accuracy = accuracy
        self._exits = exits
        self._app: Register | None = None
        self._replies: deque[list[bytes]] = deque()
        self._replied = asyncio.Event()

    def open(self) -> None:
        """Forget the registration, as a new connection does."""
        self._app = None
        self._replies.clear()

    def send(self, frames: Sequence[Frame]) -> None:
        """Answer at once."""
        request, buffers = decode_request(frames)
        self.requests.append(request)
        try:
            answer = self._answer(request, buffers)
        except Refusal as refusal:
            answer = encode(Failure(request.id, refusal.code, str(refusal)))
        self._replies.append([bytes(frame) for frame in answer])
        self._replied.set()

    def receive(self, timeout_s: float) -> Incoming:  # noqa: ARG002 (Transport has it)
        """The next answer; nothing comes later that is not there now."""
        return self._replies.popleft() if self._replies else Silence.TIMED_OUT

    async def receive_async(self, timeout_s: float) -> Incoming:
        """The next answer, once there is one."""
        self._replied.clear()
        if not self._replies:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._replied.wait()
        return self.receive(0.0)

    def fault(self) -> str | None:
        """A function is always there."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, request: Request, buffers: Sequence[Frame]) -> Sequence[Frame]:
        if isinstance(request, Infer):
            return self._infer(request, buffers)
        return encode(self._reply(request))

    def _reply(self, request: Request) -> Message:
        if isinstance(request, Register):
            return self._register(request)
        if isinstance(request, Unregister):
            self._app = None
            return Unregistered(request.id)
        return Pong(request.id)

    def _register(self, request: Register) -> Message:
        if self._app is not None:
            return Failure(request.id, Code.ALREADY_REGISTERED, "this client has an app; unregister first")
        self._app = request
        return Registered(
            id=request.id,
            app=request.app or request.model,
            model=request.model,
            input=request.camera.frame if request.camera is not None else self._input,
            output=self._output,
            labels=self._labels,
            route=self._route,
            accuracy=self._accuracy,
            latency_ms=0.0,
            latency_p95_ms=0.0,
            miss_ms=0.0,
            plan=1,
            outputs=self._outputs,
            policy=request.exits or {FINAL: 0.0},
            exits=self._exits,
        )

    def _infer(self, request: Infer, buffers: Sequence[Frame]) -> Sequence[Frame]:
        if self._app is None:
            return encode(Failure(request.id, Code.NOT_REGISTERED, "register before the first frame"))
        frame = request.tensors[0]
        wanted = self._app.camera.frame if self._app.camera is not None else self._input
        if frame.dtype != wanted.dtype or frame.size_bytes != wanted.size_bytes:
            return encode(Failure(request.id, Code.BAD_TENSOR, f"frame is {frame}; the app's are {wanted}"))
        unknown = set(request.exits) - {*self._exits, FINAL}
        if unknown:
            return encode(Failure(request.id, Code.BAD_VALUE, f"there is no exit {', '.join(sorted(unknown))}"))
        given = self._handler(array_of(wanted, buffers[0]))
        by_exit = given if isinstance(given, Mapping) else {FINAL: given}
        arrays = [array for name in request.exits or (FINAL,) for array in self._arrays(by_exit[name])]
        result = Result(
            id=request.id,
            tensors=tuple(map(header_of, arrays)),
            plan=1,
            route=self._route,
            accuracy=self._accuracy,
            queue_ms=0.0,
            run_ms=0.0,
            budget_ms=self._app.budget_ms or MAX_BUDGET_MS,
            deadline_met=True,
            exit=_deepest(request.exits, self._exits),
            left="asked" if request.exits else "end",
            exits=request.exits,
        )
        return encode(result, arrays)

    def _arrays(self, given: Given) -> list[Array]:
        """What one exit gives, as the model's outputs are described."""
        described = self._outputs or (self._output,)
        parts = given if isinstance(given, tuple) else (given,)
        return [
            np.asarray(part, header.dtype).reshape((1, *header.shape))
            for part, header in zip(parts, described, strict=True)
        ]


def _deepest(asked: Sequence[str], exits: Sequence[str]) -> str:
    """The deepest exit that gave an output."""
    return max(asked or (FINAL,), key=lambda name: len(exits) if name == FINAL else exits.index(name))
