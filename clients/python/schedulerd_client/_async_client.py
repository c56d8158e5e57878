"""The client for asyncio: several requests in flight, matched by id."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from schedulerd.wire.messages import DEFAULT_PERCENTILE, Register
from schedulerd_client._client import GOODBYE_S, checked_timeout_s, expect
from schedulerd_client._errors import Closed, SchedulerdClientError
from schedulerd_client._session import Outcome, Session, Step
from schedulerd_client._transport import Silence, Transport, ZmqTransport
from schedulerd_client._values import Registration, Reply
from schedulerd_client._where import endpoints_of

PUMP_TURN_S = 60.0
"""Longest wait of the pump; messages and lost connections end it at once."""


class AsyncClient:
    """`Client` for asyncio, with the same arguments, errors and recovery; belongs to one event loop.

    Any number of `infer` calls may wait at once. An array must not be changed before its call has returned: it is
    sent from its own memory, and sent again when the daemon is lost. A lost daemon is noticed, and the app registered
    again, also while no call waits.
    """

    def __init__(
        self,
        endpoint: str | Path | None = None,
        *,
        timeout_s: float = 5.0,
        transport: Transport | None = None,
    ) -> None:
        self._timeout_s = checked_timeout_s(timeout_s)
        self._transport = transport or ZmqTransport(endpoints_of(endpoint).infer)
        self._session = Session()
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
        budget_ms: float,
        rate_hz: float,
        priority: int = 5,
        accuracy_floor: float = 0.0,
        late: str = "run",
        app: str | None = None,
        exits: Mapping[str, float] | None = None,
        percentile: float = DEFAULT_PERCENTILE,
    ) -> Registration:
        """Become an app; see `Client.register`."""
        self._check_open()
        request = Register(0, model, budget_ms, rate_hz, priority, accuracy_floor, late, app, exits, percentile)
        registration = await self._finish(*self._session.register(request, time.monotonic()), self._timeout_s)
        return expect(registration, Registration)

    async def infer(self, array: npt.ArrayLike, *, exits: Sequence[str] = ()) -> Reply:
        """Run one frame and wait for the outputs; see `Client.infer`."""
        self._check_open()
        frame = np.asarray(array)
        reply = await self._finish(*self._session.infer(frame, time.monotonic(), tuple(exits)), self._timeout_s)
        return expect(reply, Reply)

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
                with contextlib.suppress(asyncio.CancelledError):
                    await self._pump
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
