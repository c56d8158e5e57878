"""The daemon's events as an iterator."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schedulerd.wire.envelope import Frame, WireError, decode_event
from schedulerd.wire.messages import EVENT_KINDS, Event
from schedulerd_client._errors import ProtocolError, TimedOut, Unreachable
from schedulerd_client._transport import Incoming, Silence, ZmqTransport
from schedulerd_client._where import absence

if TYPE_CHECKING:
    from schedulerd_client._remote import OperatorKeys

TURN_S = 60.0
"""Longest single wait of a stream that never ends by itself."""


class EventStream(Iterator[Event]):
    """Events from when it was made, as they come; an iterator and a context manager.

    It ends after `timeout_s` without an event (None: never), and raises `Unreachable` when there is no daemon or it
    goes away. `Event.seq` counts events of every kind: where all kinds are listened to, a gap means that some were
    missed, and `ControlClient.plan` and `.apps` say how things stand now.
    """

    def __init__(
        self,
        address: str,
        kinds: Sequence[str],
        timeout_s: float | None,
        connect_s: float,
        keys: OperatorKeys | None = None,
    ) -> None:
        unknown = set(kinds) - set(EVENT_KINDS)
        if unknown or not kinds:
            raise ValueError(f"kinds are {list(kinds)}; choose from {', '.join(EVENT_KINDS)}")
        self._address = address
        self._kinds = frozenset(kinds)
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._transport = ZmqTransport(address, topics=kinds, keys=keys)
        self._transport.open()
        try:
            self._await_connection(connect_s)
        except BaseException:
            self._transport.close()
            raise

    def __next__(self) -> Event:
        until_s = time.monotonic() + self._timeout_s
        while True:
            wait_s = until_s - time.monotonic()
            if wait_s <= 0:
                raise StopIteration
            incoming = self._receive(min(wait_s, TURN_S))
            if not isinstance(incoming, Silence):
                event = self._event(incoming)
                # A topic matches by its beginning, so a later kind could come along with ours.
                if event.kind in self._kinds:
                    return event

    def close(self) -> None:
        """End the connection. May be called twice."""
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

    def _await_connection(self, connect_s: float) -> None:
        until_s = time.monotonic() + connect_s
        while self._receive(max(0.0, until_s - time.monotonic())) is not Silence.CONNECTED:
            if time.monotonic() >= until_s:
                raise TimedOut(f"{self._address} did not answer within {connect_s:g} s")

    def _receive(self, timeout_s: float) -> Incoming:
        incoming = self._transport.receive(timeout_s)
        denial = self._transport.denial() if incoming is Silence.DENIED else None
        if denial is not None:
            raise denial
        if incoming is Silence.ABSENT:
            raise Unreachable(absence(self._address))
        if incoming is Silence.LOST:
            raise Unreachable(f"the daemon at {self._address} went away; listen again when it is back")
        return incoming

    @staticmethod
    def _event(frames: Sequence[Frame]) -> Event:
        try:
            return decode_event(frames)
        except WireError as error:
            raise ProtocolError(f"unreadable event: {error}; SDK and daemon must match") from None
