"""The client for ordinary code: one request at a time."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from schedulerd.wire.codec import Array
from schedulerd.wire.messages import DEFAULT_PERCENTILE, Camera, Register
from schedulerd_client._buffer import frame_buffer
from schedulerd_client._choice import transport_to
from schedulerd_client._errors import Closed, SchedulerdClientError
from schedulerd_client._session import NOTHING, Outcome, Session, Step
from schedulerd_client._timeouts import checked_timeout_s
from schedulerd_client._transport import Silence, Transport
from schedulerd_client._values import Registration, Reply

GOODBYE_S = 0.5
"""How long `close` waits for the daemon to hear that the app leaves."""


class Client:
    """An app's connection to the daemon; a context manager. Calls from several threads take turns.

    `endpoint` is the daemon's runtime directory or one of its ipc:// addresses; None finds the daemon of this system
    or session. Messages take the daemon's local socket, or ZeroMQ where it has none or `endpoint` is its `infer.sock`.
    Every call ends within `timeout_s`: with its answer, or with a `SchedulerdClientError`. The daemon may start later
    than the client, and may be restarted: within the time-out of the call at hand the client connects again, registers
    again under its name, and asks again.
    """

    def __init__(
        self,
        endpoint: str | Path | None = None,
        *,
        timeout_s: float = 5.0,
        transport: Transport | None = None,
    ) -> None:
        """A client of the daemon whose runtime directory, or one of its ipc:// addresses, `endpoint` is.

        Without `endpoint` that of the system's daemon, else of the user's own. A call that has no answer within
        `timeout_s` raises. Raises ValueError where `endpoint` cannot be one.
        """
        self._timeout_s = checked_timeout_s(timeout_s)
        self._transport = transport or transport_to(endpoint)
        self._session = Session()
        self._lock = threading.Lock()
        self._reconnect_at_s = math.inf
        self._closed = False
        self._transport.open()

    @property
    def registration(self) -> Registration | None:
        """What the daemon last promised; None before `register` and after `unregister`."""
        return self._session.registration

    def register(
        self,
        model: str,
        budget_ms: float | None,
        rate_hz: float,
        priority: int = 5,
        accuracy_floor: float = 0.0,
        late: str = "run",
        app: str | None = None,
        exits: Mapping[str, float] | None = None,
        percentile: float = DEFAULT_PERCENTILE,
        camera: Camera | None = None,
    ) -> Registration:
        """Become an app: frames of `model`, `rate_hz` a second, each answered within `budget_ms`.

        Args:
            model: Name of a model in the daemon's store.
            budget_ms: Wanted time from a frame's arrival at the daemon to its reply, above 0; None takes the one that
                the daemon's configuration has for the model.
            rate_hz: Frames a second that the app means to send, above 0.
            priority: 1 (least) to 10; where not all budgets can be met, low priorities give way first.
            accuracy_floor: Least acceptable predicted accuracy, 0 to 1.
            late: What becomes of a late frame. `run`: nothing. `drop`: it is refused where its deadline passes while it
                waits. `exit`: it leaves at the last exit of the model that still meets its deadline.
            app: Name for operators to see, unique among live apps; None has one made.
            exits: The exit policy, exit -> confidence from which a frame leaves there, 0 for the last, as in
                `{"exit1": 0.8, "final": 0}`; None lets the daemon choose.
            percentile: Of the latencies, which the budget is about, 50 to 99.9: at 99 one frame in a hundred may be
                late.
            camera: Frames are a camera's, of another size or kind than the model's input, which the daemon makes of
                them; None: they are the model's input themselves.

        Raises:
            Refusal: `UnknownModel`, `BadValue`, `AlreadyRegistered`, `NameTaken`, ...
            TransportError: `Unreachable`, `TimedOut`.
        """
        request = Register(0, model, budget_ms, rate_hz, priority, accuracy_floor, late, app, exits, percentile, camera)
        with self._lock:
            self._check_open()
            registration = self._finish(*self._session.register(request, time.monotonic()), self._timeout_s)
        return expect(registration, Registration)

    def infer(
        self, array: npt.ArrayLike, *, exits: Sequence[str] = (), stream: str | None = None, frame: int | None = None
    ) -> Reply:
        """Run one frame, `[*registration.input.shape]` of its dtype, and wait for the outputs.

        `exits` names exits whose outputs are wanted, all of them and from one pass: `("exit1", "final")`. Without it
        the reply has that of the exit at which the frame leaves. `stream` and `frame` say which frame of which camera
        this is, for apps of one model that look at the same ones: the daemon computes once what they have in common.
        Equal names and numbers must mean equal pixels.

        Raises:
            Refusal: `NotRegistered`, `BadTensor`, `BadValue`, `Overloaded`, `DeadlinePassed`, `StoreFault`, ...
            TransportError: `Unreachable`, `TimedOut`.
        """
        pixels = np.asarray(array)
        with self._lock:
            self._check_open()
            asked = self._session.infer(pixels, time.monotonic(), tuple(exits), stream, frame)
            reply = self._finish(*asked, self._timeout_s)
        return expect(reply, Reply)

    def frame_buffer(self, shape: Sequence[int] | None = None, dtype: npt.DTypeLike | None = None) -> Array:
        """An array to put frames into, which `infer` then sends without a copy: the daemon reads it where it lies.

        Shape and dtype are those of the registered input, unless given; the contents are anything. It may be written
        to again once `infer` has returned its answer, so a camera that fills one frame while another is looked at
        takes two. It stays valid for as long as it is used, also when the client is closed. Where nothing can be
        shared (small frames, another transport) it is an array like any other.

        Raises `NotRegistered` where neither a registration nor the caller says what a frame is.
        """
        with self._lock:
            self._check_open()
            return frame_buffer(self._transport, self._session.registration, shape, dtype)

    def unregister(self) -> None:
        """Give up the app; right also where there is none."""
        with self._lock:
            self._check_open()
            self._finish(*self._session.unregister(time.monotonic()), self._timeout_s)

    def close(self) -> None:
        """Tell the daemon that the app leaves, if it is there, and end the connection. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._say_goodbye()
            finally:
                self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this client is closed; make a new one")

    def _say_goodbye(self) -> None:
        if self._session.registration is None or self._transport.fault() is not None:
            return
        with contextlib.suppress(SchedulerdClientError):
            self._finish(*self._session.unregister(time.monotonic()), GOODBYE_S)

    def _finish(self, request_id: int, step: Step, timeout_s: float) -> Outcome:
        """Perform steps until the request has its outcome."""
        until_s = time.monotonic() + timeout_s
        try:
            while True:
                for frames in step.send:
                    self._transport.send(frames)
                for done_id, outcome in step.done:
                    if done_id == request_id:
                        return outcome
                if step.reconnect_in_s is not None:
                    self._reconnect_at_s = time.monotonic() + step.reconnect_in_s
                step = self._next_step(request_id, until_s)
        except BaseException:
            # Interrupted, or out of time: an answer that still comes is nobody's.
            self._session.forget(request_id)
            raise

    def _next_step(self, request_id: int, until_s: float) -> Step:
        wait_s = min(until_s, self._reconnect_at_s) - time.monotonic()
        incoming = self._transport.receive(wait_s if wait_s > 0 else 0.0)
        now_s = time.monotonic()
        if not isinstance(incoming, Silence):
            return self._session.received(incoming, now_s)
        if now_s >= until_s:
            raise self._out_of_time(request_id)
        if incoming is Silence.LOST or now_s >= self._reconnect_at_s:
            return self._reconnect()
        return NOTHING

    def _reconnect(self) -> Step:
        self._reconnect_at_s = math.inf
        self._transport.open()
        return self._session.connected_anew()

    def _out_of_time(self, request_id: int) -> SchedulerdClientError:
        fault = self._transport.fault()
        half_said = fault is not None or self._session.is_joining(request_id)
        error = self._session.give_up(request_id, fault)
        if half_said:
            # What is queued, or half agreed, must not reach a daemon behind our back later.
            for frames in self._reconnect().send:
                self._transport.send(frames)
        return error


Wanted = TypeVar("Wanted", Registration, Reply)


def expect(outcome: Outcome, kind: type[Wanted]) -> Wanted:
    """The outcome of a call as the value that it promises; errors are raised."""
    if isinstance(outcome, SchedulerdClientError):
        raise outcome
    assert isinstance(outcome, kind), "the session matches answers to requests"
    return outcome
