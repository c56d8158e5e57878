"""The operator's side: ask the daemon about itself, move budgets and limits, listen to what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from schedulerd.wire.envelope import WireError, decode_plain_reply, packed
from schedulerd.wire.messages import (
    EVENT_KINDS,
    MAX_DRAIN_S,
    Addition,
    Answer,
    Apps,
    Drain,
    DropOverrides,
    Failure,
    LogLevel,
    Message,
    Models,
    Objective,
    Pin,
    Ping,
    Reload,
    Resume,
    SetBudget,
    SetLimit,
    SetPriority,
    ShowOverrides,
    ShowPlan,
    Status,
    Unpin,
    WhatIf,
    Why,
)
from schedulerd.wire.remote import TCP, Place
from schedulerd_client._errors import Closed, ProtocolError, TimedOut, Unreachable, refusal
from schedulerd_client._events import EventStream
from schedulerd_client._timeouts import checked_timeout_s
from schedulerd_client._transport import Silence, ZmqTransport
from schedulerd_client._where import absence, endpoints_of

_DRAIN_SHARE = 0.8
"""Of the time that an answer may take: what is left is for the plan without the drained app."""
if TYPE_CHECKING:
    from schedulerd_client._remote import OperatorKeys


def _place(endpoint: str | Path | None, keys: OperatorKeys | None) -> Place:
    """Where to connect. ValueError where the address and the keys do not go together."""
    if keys is not None:
        from schedulerd_client._remote import check_curve

        check_curve()
        return Place.of(str(endpoint))
    if str(endpoint).startswith(TCP):
        raise ValueError(f"{endpoint} takes keys: ControlClient(..., keys=OperatorKeys.from_files(server_key, key))")
    endpoints = endpoints_of(endpoint)
    return Place(endpoints.control, endpoints.events)


class ControlClient:
    """Requests on the daemon's control socket; a context manager.

    Answers are maps as clients/PROTOCOL.md lists them. Unlike `Client` it does not wait for a daemon that is not
    there: an operator wants to know at once. Errors: `Unreachable`, `TimedOut`, `NotPermitted`, `BadValue`,
    `UnknownApp`, ...

    With `keys` the daemon is on another machine: `ControlClient("tcp://HOST:9478", keys=OperatorKeys.from_files(...))`;
    then also `HandshakeFailed`.
    """

    def __init__(
        self,
        endpoint: str | Path | None = None,
        *,
        timeout_s: float = 5.0,
        keys: OperatorKeys | None = None,
    ) -> None:
        self._timeout_s = checked_timeout_s(timeout_s)
        self._keys = keys
        self._place = _place(endpoint, keys)
        self._transport = ZmqTransport(self._place.control, keys=keys)
        self._lock = threading.Lock()
        self._last_id = 0
        self._closed = False

    def status(self) -> dict[str, Any]:
        """How the daemon and its board are."""
        return self._ask(Status)

    def apps(self) -> dict[str, Any]:
        """Every app with its route, prediction and measured times."""
        return self._ask(Apps)

    def plan(self) -> dict[str, Any]:
        """The plan in force, and why it is so."""
        return self._ask(ShowPlan)

    def models(self) -> dict[str, Any]:
        """What the store holds."""
        return self._ask(Models)

    def set_budget(self, app: str, budget_ms: float) -> dict[str, Any]:
        """Change one app's budget; answered when the new plan is in place."""
        return self._ask(lambda request_id: SetBudget(request_id, app, budget_ms))

    def set_priority(self, app: str, priority: int) -> dict[str, Any]:
        """Change one app's priority, 1 to 10 (most); answered when the new plan is in place."""
        return self._ask(lambda request_id: SetPriority(request_id, app, priority))

    def pin(self, app: str, blocks: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Hold what an app runs: variants by block, or without any the whole route that it runs now."""
        return self._ask(lambda request_id: Pin(request_id, app, dict(blocks or {})))

    def unpin(self, app: str, blocks: Sequence[str] = ()) -> dict[str, Any]:
        """Leave these blocks to the optimizer again; without any everything that is pinned for the app."""
        return self._ask(lambda request_id: Unpin(request_id, app, tuple(blocks)))

    def drain(self, app: str | None = None) -> dict[str, Any]:
        """Give an app no new work; None: every app, and whoever registers later.

        Answered when nothing of it is in flight any more, or a little before this client's own time is up: `in_flight`
        then says what is. It holds until `resume`.
        """
        timeout_s = min(MAX_DRAIN_S, _DRAIN_SHARE * self._timeout_s)
        return self._ask(lambda request_id: Drain(request_id, app, timeout_s))

    def resume(self, app: str | None = None) -> dict[str, Any]:
        """Let a drained app go on, None: all; answered when its route runs."""
        return self._ask(lambda request_id: Resume(request_id, app))

    def set_limit(self, what: str, value_bytes: int | None) -> dict[str, Any]:
        """Change what all apps together may use (`memory`); None goes back to the configuration."""
        return self._ask(lambda request_id: SetLimit(request_id, what, value_bytes))

    def why(self, app: str) -> dict[str, Any]:
        """Why an app runs what it runs, and what more of a limit would buy."""
        return self._ask(lambda request_id: Why(request_id, app))

    def whatif(
        self,
        budgets_ms: Mapping[str, float] | None = None,
        memory_bytes: int | None = None,
        add: Sequence[Addition] = (),
        objective: str | None = None,
    ) -> dict[str, Any]:
        """The plan that would follow from such edits, beside the present one; nothing is changed.

        Args: budgets_ms: by app; memory_bytes: the limit; add: apps that would join; objective: see `objective`.
        """
        budgets = dict(budgets_ms or {})
        return self._ask(lambda request_id: WhatIf(request_id, budgets, memory_bytes, tuple(add), objective))

    def objective(self, name: str | None = None) -> dict[str, Any]:
        """Change what is best among the plans that keep the limits, as `max-accuracy`; None only asks what it is."""
        return self._ask(lambda request_id: Objective(request_id, name))

    def log_level(self, level: str | None = None) -> dict[str, Any]:
        """Change which events the daemon logs, as `debug`, until it ends or reloads; None only asks what it is."""
        return self._ask(lambda request_id: LogLevel(request_id, level))

    def reload(self) -> dict[str, Any]:
        """Have the configuration read again: what was applied, and what needs a restart. `BadValue` for a bad one."""
        return self._ask(Reload)

    def overrides(self) -> dict[str, Any]:
        """What operators have set, and whether it outlives the daemon."""
        return self._ask(ShowOverrides)

    def drop_overrides(self, app: str | None = None) -> dict[str, Any]:
        """Go back to what an app registered with; None drops everything that operators have set."""
        return self._ask(lambda request_id: DropOverrides(request_id, app))

    def ping(self) -> None:
        """Return when the daemon answers."""
        self._ask(Ping)

    def events(self, kinds: Sequence[str] = EVENT_KINDS, timeout_s: float | None = None) -> EventStream:
        """What happens from now on; see `EventStream`."""
        return EventStream(self._place.events, kinds, timeout_s, self._timeout_s, self._keys)

    def close(self) -> None:
        """End the connection. May be called twice."""
        with self._lock:
            self._closed = True
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

    def _ask(self, request: Callable[[int], Message]) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                raise Closed("this client is closed; make a new one")
            if self._transport.fault() is not None:
                # A new attempt, so that what it says is about now.
                self._transport.open()
            self._last_id += 1
            self._transport.send([packed(request(self._last_id))])
            try:
                return self._answer(self._last_id)
            except (Unreachable, TimedOut):
                # The request may wait in the socket; it must not be carried out behind our back later.
                self._transport.open()
                raise

    def _answer(self, request_id: int) -> dict[str, Any]:
        until_s = time.monotonic() + self._timeout_s
        while True:
            incoming = self._transport.receive(max(0.0, until_s - time.monotonic()))
            denial = self._transport.denial() if incoming is Silence.DENIED else None
            if denial is not None:
                raise denial
            if incoming is Silence.LOST:
                raise Unreachable(f"the daemon at {self._place.control} went away; look at it, then ask again")
            if incoming is Silence.ABSENT:
                raise Unreachable(absence(self._place.control))
            if incoming is Silence.CONNECTED:
                continue
            if isinstance(incoming, Silence):
                if self._keys is not None and (fault := self._transport.fault()) is not None:
                    raise Unreachable(f"no connection within {self._timeout_s:g} s: {fault}")
                raise TimedOut(f"no answer from {self._place.control} within {self._timeout_s:g} s")
            try:
                reply = decode_plain_reply(incoming)
            except WireError as error:
                raise ProtocolError(f"unreadable answer: {error}; SDK and daemon must match") from None
            # A request of which not even the id could be read is refused as 0; no other one is open.
            if reply.id != request_id and not (reply.id == 0 and isinstance(reply, Failure)):
                continue
            if isinstance(reply, Failure):
                raise refusal(reply.code, reply.message)
            return dict(reply.result) if isinstance(reply, Answer) else {}
