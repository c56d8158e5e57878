"""The life of one client without its sockets: what to send, what has been answered, when to connect anew.

Bytes and lost connections go in, `Step`s come out; `Client` and `AsyncClient` perform them (the idea is that of
https://sans-io.readthedocs.io). Every recovery is one and the same: a new connection, on which the app is registered
as before and every open request is sent again. Frames may run twice that way, which does no harm: inference has no
effect. Requests are matched by id alone, and no id is used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from schedulerd.wire.codec import Array, array_of, buffers_of, decode_reply, encode, header_of
from schedulerd.wire.envelope import Frame, WireError
from schedulerd.wire.headers import Answer, parts_of, read_result
from schedulerd.wire.messages import (
    MAX_HEADER_BYTES,
    Code,
    Failure,
    Infer,
    Register,
    Registered,
    Result,
    Unregister,
    Unregistered,
)
from schedulerd_client._errors import (
    BadMessage,
    BadValue,
    ProtocolError,
    Refusal,
    SchedulerdClientError,
    TimedOut,
    Unreachable,
    refusal,
)
from schedulerd_client._values import Registration, Reply

RETRY_S = 0.1
"""How long a connection that said "not now" is kept before trying another; its end is noticed at once anyway."""

Outcome = Registration | Reply | None | SchedulerdClientError
"""What a call returns, or raises."""


class Step(NamedTuple):
    """What to do next: send messages, end calls, connect anew."""

    send: Sequence[Sequence[Frame]] = ()
    done: Sequence[tuple[int, Outcome]] = ()
    reconnect_in_s: float | None = None
    """Open a new connection after that time, or when this one is lost, whichever comes first."""


NOTHING = Step()


@dataclass(slots=True)
class _Open:
    """A request without an answer."""

    frames: Sequence[Frame]
    asked_at_s: float
    sent: bool
    """On this connection."""
    refusal: Refusal | None = None
    """The last answer that was not final; what to say when time runs out."""


class Session:
    """One client. Not for several threads at once; `now_s` is any monotonic time in seconds."""

    def __init__(self) -> None:
        self.registration: Registration | None = None
        """As of the last registration; None before the first and after `unregister`."""
        self._last_id = 0
        self._open: dict[int, _Open] = {}
        self._wanted: Register | None = None
        """The registration to repeat on every new connection."""
        self._joining: dict[int, Register] = {}
        """Registrations without an answer, the user's and our own; everything else waits behind them."""
        self._rejoin_id = 0
        """The last registration of our own."""

    # What the user wants.

    def register(self, request: Register, now_s: float) -> tuple[int, Step]:
        """Register; `request.id` is replaced by the next one. Raises `BadMessage` for one that cannot travel."""
        joining = request._replace(id=self._next_id())
        frames = encode(joining)
        _check_header(frames)
        self._open[joining.id] = _Open(frames, now_s, sent=True)
        self._joining[joining.id] = joining
        return joining.id, Step(send=(frames,))

    def infer(
        self,
        array: Array,
        now_s: float,
        exits: tuple[str, ...] = (),
        stream: str | None = None,
        number: int | None = None,
    ) -> tuple[int, Step]:
        """Run one frame, which may be that of a number in a stream.

        Raises `BadTensor` or `BadMessage` for an array that cannot travel, `BadValue` for half a stream's frame.
        """
        if (stream is None) is not (number is None):
            raise BadValue(f"stream is {stream!r} and frame is {number!r}; give both, or neither")
        request_id = self._next_id()
        try:
            frames = encode(Infer(request_id, (header_of(array),), exits, stream, number), (array,))
        except WireError as error:
            raise refusal(error.code, str(error)) from None
        _check_header(frames)
        return request_id, self._submit(request_id, frames, now_s)

    def unregister(self, now_s: float) -> tuple[int, Step]:
        """Give up the app; it will not be registered again."""
        request_id = self._next_id()
        self._wanted = None
        return request_id, self._submit(request_id, encode(Unregister(request_id)), now_s)

    def give_up(self, request_id: int, fault: str | None) -> SchedulerdClientError:
        """Forget a request whose time is up, and say why; `fault` is `Transport.fault`."""
        request = self._open.get(request_id)
        self.forget(request_id)
        if request is not None and request.refusal is not None:
            return request.refusal
        if fault is not None:
            return Unreachable(fault)
        return TimedOut("the daemon gave no answer in time; raise timeout_s, or see `schedctl status`")

    def forget(self, request_id: int) -> None:
        """Nobody waits for this request any more; its answer will be ignored."""
        self._open.pop(request_id, None)

    def is_joining(self, request_id: int) -> bool:
        """Whether this request is a registration without an answer."""
        return request_id in self._joining

    # What happened.

    def connected_anew(self) -> Step:
        """There is a new connection, on which nothing has been said."""
        # What nobody waits for is not said again; our own registration comes first.
        users = {request_id: joining for request_id, joining in self._joining.items() if request_id in self._open}
        self._joining = {**self._rejoining(), **users}
        for request_id, request in self._open.items():
            request.sent = request_id in users
        if self._joining:
            return Step(send=[encode(joining) for joining in self._joining.values()])
        return self._send_waiting()

    def received(self, frames: Sequence[Frame], now_s: float) -> Step:
        """A message from the daemon; answers that nobody waits for are ignored."""
        try:
            known = read_result(frames[0]) if frames and type(frames[0]) is bytes else None
            if known is not None:
                return self._answer(known, frames, now_s)
            reply, _ = decode_reply(frames)
            if isinstance(reply, Result):
                return self._answer(parts_of(reply), frames, now_s)
        except WireError as error:
            return self._finish(error.id, ProtocolError(f"unreadable answer: {error}; SDK and daemon must match"))
        if isinstance(reply, Failure):
            return self._failure(reply)
        if isinstance(reply, Registered):
            return self._registered(reply)
        if isinstance(reply, Unregistered):
            self._wanted = self.registration = None
            return self._finish(reply.id, None)
        # The daemon's pings (id 0) only find out whether we are there: libzmq has answered that.
        return NOTHING

    # Details.

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _rejoining(self) -> dict[int, Register]:
        if self._wanted is None:
            return {}
        self._rejoin_id = self._next_id()
        return {self._rejoin_id: self._wanted._replace(id=self._rejoin_id)}

    def _submit(self, request_id: int, frames: Sequence[Frame], now_s: float) -> Step:
        sent = not self._joining
        self._open[request_id] = _Open(frames, now_s, sent)
        return Step((frames,)) if sent else NOTHING

    def _finish(self, request_id: int, outcome: Outcome) -> Step:
        if self._open.pop(request_id, None) is None:
            return NOTHING
        return Step(done=((request_id, outcome),))

    def _send_waiting(self, done: Sequence[tuple[int, Outcome]] = ()) -> Step:
        """What waited, once the connection has all its registrations answered."""
        if self._joining:
            return Step(done=done)
        waiting = [request for request in self._open.values() if not request.sent]
        for request in waiting:
            request.sent = True
        return Step(send=[request.frames for request in waiting], done=done)

    def _answer(self, answer: Answer, frames: Sequence[Frame], now_s: float) -> Step:
        buffers = buffers_of(answer.announced, answer.id, frames)
        request = self._open.pop(answer.id, None)
        if request is None:
            return NOTHING
        tensors, plan, route, accuracy, budget_ms, exit_, left, confidence, exits = answer.lasting
        arrays = tuple(map(array_of, tensors, buffers))
        # By position, as one is made of every frame.
        reply = Reply(
            arrays[0] if len(arrays) == 1 and not exits else _outputs(arrays, len(exits)),
            route,
            accuracy,
            plan,
            answer.queue_ms,
            answer.run_ms,
            budget_ms,
            answer.deadline_met,
            (now_s - request.asked_at_s) * 1e3,
            exit_,
            left,
            confidence,
            exits,
        )
        return Step((), ((answer.id, reply),))

    def _registered(self, reply: Registered) -> Step:
        joining = self._joining.pop(reply.id, None)
        if joining is None:
            return NOTHING
        self._wanted = joining._replace(app=reply.app)
        self.registration = Registration(
            app=reply.app,
            model=reply.model,
            input=reply.input,
            output=reply.output,
            labels=reply.labels,
            route=reply.route,
            accuracy=reply.accuracy,
            latency_ms=reply.latency_ms,
            latency_p95_ms=reply.latency_p95_ms,
            miss_ms=reply.miss_ms,
            plan=reply.plan,
            outputs=reply.outputs,
            policy=reply.policy,
            exit_shares=reply.exit_shares,
            exits=reply.exits,
            credit=reply.credit,
        )
        return self._send_waiting(self._finish(reply.id, self.registration).done)

    def _failure(self, failure: Failure) -> Step:
        error = refusal(failure.code, failure.message)
        if failure.id in self._joining:
            return self._join_refused(failure.id, error)
        if failure.id == 0:
            # It does not say what it is about; whoever waits in vain hears of it.
            for waiting in self._open.values():
                waiting.refusal = error
        request = self._open.get(failure.id)
        if request is None:
            return NOTHING
        if error.code is Code.SHUTTING_DOWN:
            request.refusal = error
            return Step(reconnect_in_s=RETRY_S)
        if error.code is Code.NOT_REGISTERED and self._wanted is not None:
            # The daemon is not the one that knew us, or has given us up.
            return Step(reconnect_in_s=0.0)
        return self._finish(failure.id, error)

    def _join_refused(self, joining_id: int, error: Refusal) -> Step:
        ours = joining_id == self._rejoin_id
        # Our own name may be held, for a moment, by the connection that we have just lost.
        if error.code is Code.SHUTTING_DOWN or (ours and error.code is Code.NAME_TAKEN):
            for request in self._open.values():
                request.refusal = error
            return Step(reconnect_in_s=RETRY_S)
        del self._joining[joining_id]
        if not ours:
            return self._send_waiting(self._finish(joining_id, error).done)
        ended = [request_id for request_id in self._open if request_id not in self._joining]
        for request_id in ended:
            del self._open[request_id]
        return Step(done=[(request_id, error) for request_id in ended])


def _check_header(frames: Sequence[Frame]) -> None:
    """Some sockets take no larger one, so the daemon could not say it."""
    size_bytes = len(frames[0])
    if size_bytes > MAX_HEADER_BYTES:
        raise BadMessage(f"header has {size_bytes} bytes; the limit is {MAX_HEADER_BYTES}", Code.TOO_LARGE)


def _outputs(arrays: tuple[Array, ...], exits: int) -> Any:
    """The tensors of a reply as its `outputs`: those of one exit, or a tuple of those of each that was asked for."""
    if not exits:
        return arrays if len(arrays) > 1 else arrays[0]
    each = len(arrays) // exits
    return tuple(_outputs(arrays[first : first + each], 0) for first in range(0, each * exits, each))
