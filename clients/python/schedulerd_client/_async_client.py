"""The client for asyncio: several requests in flight, matched by id."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from schedulerd.wire.codec import Array
from schedulerd.wire.messages import DEFAULT_PERCENTILE, Camera, Register
from schedulerd_client._buffer import frame_buffer
from schedulerd_client._choice import transport_to
from schedulerd_client._client import GOODBYE_S, expect
from schedulerd_client._credit import Credit
from schedulerd_client._errors import Closed, SchedulerdClientError, TimedOut, Unreachable
from schedulerd_client._many import Answer, Frames, answers
from schedulerd_client._session import Outcome, Session, Step
from schedulerd_client._timeouts import checked_timeout_s
from schedulerd_client._transport import Silence, Transport
from schedulerd_client._values import Registration, Reply

PUMP_TURN_S = 60.0
"""Longest wait of the pump; messages and lost connections end it at once."""
AT_ONCE = 4
"""Frames of `infer_many` that are open where the daemon does not say how many may be."""


class AsyncClient:
    """`Client` for asyncio, with the same arguments, errors and recovery; belongs to one event loop.

    Any number of `infer` calls may wait at once. As many of them are open as the daemon allows (`Registration.credit`)
    and the others wait in line, so that a camera that is too fast is slowed rather than refused. An array must not be
    changed before its call has returned: it is sent from its own memory, and sent again when the daemon is lost. A lost
    daemon is noticed, and the app registered again, also while no call waits.
    """

    def __init__(
        self,
        endpoint: str | Path | None = None,
        *,
        timeout_s: float = 5.0,
        transport: Transport | None = None,
    ) -> None:
        self._timeout_s = checked_timeout_s(timeout_s)
        self._transport = transport or transport_to(endpoint)
        self._session = Session()
        self._credit = Credit()
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._reconnect_at_s = math.inf
        self._closed = False
        self._transport.open()

    @property
    def registration(self) -> Registration | None:
        """What the daemon last promised; None before `register` and after `unregister`."""
        return self._session.registration

    async def register(
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
        """Become an app; see `Client.register`."""
        self._check_open()
        request = Register(0, model, budget_ms, rate_hz, priority, accuracy_floor, late, app, exits, percentile, camera)
        registration = await self._finish(*self._session.register(request, time.monotonic()), self._timeout_s)
        return expect(registration, Registration)

    async def infer(
        self, array: npt.ArrayLike, *, exits: Sequence[str] = (), stream: str | None = None, frame: int | None = None
    ) -> Reply:
        """Run one frame and wait for the outputs; see `Client.infer`. The time-out begins with the call."""
        self._check_open()
        pixels = np.asarray(array)
        until_s = time.monotonic() + self._timeout_s
        await self._take_credit()
        try:
            self._check_open()
            now_s = time.monotonic()
            asked = self._session.infer(pixels, now_s, tuple(exits), stream, frame)
            return expect(await self._finish(*asked, max(0.0, until_s - now_s)), Reply)
        finally:
            self._credit.give_back()

    def infer_many(
        self, frames: Frames, *, ordered: bool = True, at_once: int | None = None, exits: Sequence[str] = ()
    ) -> AsyncGenerator[tuple[int, Answer], None]:
        """Run every frame of an iterable, or async iterable, with several of them open at once.

            async for number, answer in client.infer_many(camera):
                if isinstance(answer, Reply): ...

        Gives each frame's number, from 0, with its reply, or with the `Refusal` that it met: one frame that is too late
        does not end a film. Any other error (`Unreachable`, `TimedOut`, one of `frames`) is raised and ends it. In the
        order of the frames, unless `ordered` is False: then as they are answered.

        At most `at_once` frames are open, never more than the daemon allows; None takes what it allows. The next frame
        is taken only when there is room for it, on the event loop: a camera whose `next` blocks belongs into a thread.
        """
        self._check_open()
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once is {at_once}; it must be from 1")
        credit = self._allowed() or at_once or AT_ONCE
        most = min(at_once or credit, credit)
        return answers(frames, lambda frame: self.infer(frame, exits=exits), most, ordered=ordered)

    def frame_buffer(self, shape: Sequence[int] | None = None, dtype: npt.DTypeLike | None = None) -> Array:
        """An array to put frames into, which `infer` sends without a copy; see `Client.frame_buffer`."""
        self._check_open()
        return frame_buffer(self._transport, self._session.registration, shape, dtype)

    async def unregister(self) -> None:
        """Give up the app; right also where there is none."""
        self._check_open()
        await self._finish(*self._session.unregister(time.monotonic()), self._timeout_s)

    async def close(self) -> None:
        """Tell the daemon that the app leaves, if it is there, and end the connection. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._say_goodbye()
        finally:
            if self._pump is not None:
                self._pump.cancel()
                # One that had failed has told those who waited.
                await asyncio.gather(self._pump, return_exceptions=True)
            self._transport.close()
            self._end_all(Closed("this client was closed while the call waited"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this client is closed; make a new one")

    def _allowed(self) -> int:
        """How many requests may be open; 0 where the daemon does not say."""
        registration = self._session.registration
        return 0 if registration is None else registration.credit

    async def _take_credit(self) -> None:
        allowed = self._allowed()
        if not await self._credit.take(allowed, self._timeout_s):
            fault = self._transport.fault()
            if fault is not None:
                raise Unreachable(fault)
            raise TimedOut(f"{allowed} requests are open, as many as the daemon allows, and none ended in time")

    async def _say_goodbye(self) -> None:
        if self._session.registration is None or self._transport.fault() is not None:
            return
        with contextlib.suppress(SchedulerdClientError):
            await self._finish(*self._session.unregister(time.monotonic()), GOODBYE_S)

    async def _finish(self, request_id: int, step: Step, timeout_s: float) -> Outcome:
        """Wait for the outcome of a request that the pump will bring."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            self._perform(step)
            if self._pump is None or self._pump.done():
                self._pump = asyncio.create_task(self._run(), name="schedulerd-client")
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise self._out_of_time(request_id) from None
        finally:
            # Also when the caller was cancelled: an answer that still comes is nobody's.
            del self._waiting[request_id]
            self._session.forget(request_id)

    async def _run(self) -> None:
        """The pump: take in what arrives, and keep the connection, until cancelled."""
        try:
            while True:
                wait_s = min(PUMP_TURN_S, self._reconnect_at_s - time.monotonic())
                incoming = await self._transport.receive_async(max(0.0, wait_s))
                now_s = time.monotonic()
                if not isinstance(incoming, Silence):
                    self._perform(self._session.received(incoming, now_s))
                elif incoming is Silence.LOST or now_s >= self._reconnect_at_s:
                    self._reconnect()
        except Exception as error:
            # A fault of ours: nobody may wait in vain for a pump that has stopped.
            self._end_all(error)
            raise

    def _perform(self, step: Step) -> None:
        for frames in step.send:
            self._transport.send(frames)
        for request_id, outcome in step.done:
            future = self._waiting.get(request_id)
            if future is not None and not future.done():
                future.set_result(outcome)
        if step.reconnect_in_s is not None:
            self._reconnect_at_s = time.monotonic() + step.reconnect_in_s

    def _reconnect(self) -> None:
        self._reconnect_at_s = math.inf
        self._transport.open()
        self._perform(self._session.connected_anew())

    def _out_of_time(self, request_id: int) -> SchedulerdClientError:
        fault = self._transport.fault()
        half_said = fault is not None or self._session.is_joining(request_id)
        error = self._session.give_up(request_id, fault)
        if half_said:
            # What is queued, or half agreed, must not reach a daemon behind our back later.
            self._reconnect()
        return error

    def _end_all(self, error: Exception) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
