"""Headers of frames and of their answers, which come hundreds of times a second and differ in a few bytes.

They are the msgpack maps that `codec` describes, with their keys in this order:

    infer   v op id                                    | tensors
    result  v op id queue_ms run_ms deadline_met       | tensors plan route ... (`Lasting`)

What stands before the bar has known bytes and a few numbers in between, which are written and read where they are. What
stands behind it, the *tail*, is the same from one frame to the next: it is packed or checked once and looked up by its
bytes from then on. So a header is read in 2 us that takes msgpack and all checks 12 to 15. A header in any other order,
with other keys or numbers of other kinds is as good: it is None here, and `codec` reads it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack

from schedulerd.wire.messages import FINAL, MAX_REPLY_TENSORS, MAX_TENSORS, PROTOCOL_VERSION, Result, TensorHeader
from schedulerd.wire.schema import Unfit, flag, integer, number, tensor, text, texts

KNOWN: Final = 256
"""Tails of either kind that are remembered, those that were used last."""
MOST_BYTES: Final = 1024
"""Of a tail that is remembered: what a peer makes up must not fill the memory."""
LASTING_KEYS: Final = 8
"""Of a tail of `result` without `exits`."""


class Announced(NamedTuple):
    """The tensors of a message."""

    tensors: tuple[TensorHeader, ...]
    sizes_bytes: tuple[int, ...]
    """Of their frames."""

    @staticmethod
    def of(tensors: tuple[TensorHeader, ...]) -> Announced:
        """Raises KeyError for a dtype that may not travel."""
        return Announced(tensors, tuple(t.size_bytes for t in tensors))


class Lasting(NamedTuple):
    """What is the same in many answers of one route; see `Result`."""

    tensors: tuple[TensorHeader, ...]
    plan: int
    route: tuple[str, ...]
    accuracy: float
    budget_ms: float
    exit: str
    left: str
    confidence: float | None
    exits: tuple[str, ...]


class Answer(NamedTuple):
    """A header of `result`, in the parts that it is read in."""

    id: int
    queue_ms: float
    run_ms: float
    deadline_met: bool
    lasting: Lasting
    announced: Announced

    def result(self) -> Result:
        """As one."""
        return result_of(self.id, self.lasting, self.queue_ms, self.run_ms, self.deadline_met)


def lasting(header: Mapping[str, Any], tensors: tuple[TensorHeader, ...]) -> Lasting:
    """The values of a header of `result`. Raises KeyError for one that is missing, `Unfit` for one that is none."""
    return Lasting(
        tensors,
        integer(header["plan"]),
        texts(header["route"]),
        number(header["accuracy"]),
        number(header["budget_ms"]),
        # Absent from the replies of a daemon from before there were exits.
        text(header.get("exit", FINAL)),
        text(header.get("left", "end")),
        None if header.get("confidence") is None else number(header["confidence"]),
        texts(header["exits"]) if "exits" in header else (),
    )


def measured(header: Mapping[str, Any]) -> tuple[float, float, bool]:
    """`queue_ms`, `run_ms` and `deadline_met` of a header of `result`; raises as `lasting`."""
    return number(header["queue_ms"]), number(header["run_ms"]), flag(header["deadline_met"])


def result_of(message_id: int, values: Lasting, queue_ms: float, run_ms: float, deadline_met: bool) -> Result:
    """A result of its parts."""
    tensors, plan, route, accuracy, budget_ms, exit_, left, confidence, exits = values
    return Result(
        message_id,
        tensors,
        plan,
        route,
        accuracy,
        queue_ms,
        run_ms,
        budget_ms,
        deadline_met,
        exit_,
        left,
        confidence,
        exits,
    )


def parts_of(result: Result) -> Answer:
    """The parts of a result."""
    r = result
    values = Lasting(r.tensors, r.plan, r.route, r.accuracy, r.budget_ms, r.exit, r.left, r.confidence, r.exits)
    return Answer(r.id, r.queue_ms, r.run_ms, r.deadline_met, values, Announced.of(r.tensors))


# Out.


def infer_header(message_id: int, tensors: tuple[TensorHeader, ...]) -> bytes:
    """The header of a frame without any of the keys that few have."""
    return b"".join((_INFER, _packed_id(message_id), _infer_tail(tensors)))


def result_header(result: Result) -> bytes:
    """The header of an answer."""
    (message_id, tensors, plan, route, accuracy, queue_ms, run_ms, budget_ms, met, exit_, left, sure, exits) = result
    numbers = _packed_id(message_id) + _MEASURED.pack(_QUEUE, queue_ms, _RUN, run_ms, _MET if met else _LATE)
    tail = _result_tail(tensors, plan, route, accuracy, budget_ms, exit_, left, sure, exits)
    return b"".join((_RESULT_OF_EXITS if exits else _RESULT, numbers, tail))


# In.


def read_infer(header: bytes) -> tuple[int, Announced] | None:
    """Id and tensors of a frame without any of the keys that few have; None for what is not known to be one."""
    if not header.startswith(_INFER):
        return None
    message_id, end = _id_at(header, len(_INFER))
    tail = header[end:]
    announced = _infer_tensors(tail) if message_id and len(tail) <= MOST_BYTES else None
    return None if announced is None else (message_id, announced)


def read_result(header: bytes) -> Answer | None:
    """An answer; None for what is not known to be one."""
    if not header.startswith((_RESULT, _RESULT_OF_EXITS)):
        return None
    message_id, at = _id_at(header, len(_RESULT))
    end = at + _MEASURED.size
    if not message_id or not end < len(header) <= end + MOST_BYTES:
        return None
    queue, queue_ms, run, run_ms, kept = _MEASURED.unpack_from(header, at)
    met = _DEADLINE.get(kept)
    if queue != _QUEUE or run != _RUN or met is None or not math.isfinite(queue_ms + run_ms):
        return None
    known = _result_values(header[0] & 0xF, header[end:])
    return None if known is None else Answer(message_id, queue_ms, run_ms, met, *known)


def id_of(header: bytes) -> int | None:
    """The id of an answer to a frame; None where the header is not known to be that of one."""
    return _id_at(header, len(_RESULT))[0] if header.startswith((_RESULT, _RESULT_OF_EXITS)) else None


# Details.


def _entries(told: Mapping[str, Any]) -> bytes:
    """A map without the byte that says how many keys it has."""
    packed: bytes = msgpack.packb(told)
    return packed[1:]


def _start(op: str, keys: int) -> bytes:
    """A map of so many keys, up to where the id stands."""
    return bytes((0x80 | keys,)) + _entries({"v": PROTOCOL_VERSION, "op": op}) + bytes(msgpack.packb("id"))


_INFER: Final = _start("infer", 4)
_RESULT: Final = _start("result", 6 + LASTING_KEYS)
_RESULT_OF_EXITS: Final = _start("result", 6 + LASTING_KEYS + 1)
_FLOAT: Final = b"\xcb"
"""Begins eight bytes of a number (the msgpack specification, "float format family")."""
_QUEUE: Final = msgpack.packb("queue_ms") + _FLOAT
_RUN: Final = msgpack.packb("run_ms") + _FLOAT
_MET: Final = msgpack.packb("deadline_met") + msgpack.packb(True)
_LATE: Final = msgpack.packb("deadline_met") + msgpack.packb(False)
_DEADLINE: Final = {_MET: True, _LATE: False}
_MEASURED: Final = struct.Struct(f">{len(_QUEUE)}sd{len(_RUN)}sd{len(_MET)}s")
_UINT8, _UINT16, _UINT32, _UINT64 = 0xCC, 0xCD, 0xCE, 0xCF
_WIDTHS: Final = {_UINT8: 1, _UINT16: 2, _UINT32: 4, _UINT64: 8}
"""Bytes of a whole number by the byte before it (the specification, "int format family"); below 0x80 it is that."""


def _packed_id(number: int) -> bytes:
    """As `msgpack.packb` does it, which makes a packer for every call: in the shortest form."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x1_00:
        return bytes((_UINT8, number))
    if number < 0x1_0000:
        return _OF_16.pack(_UINT16, number)
    if number < 0x1_0000_0000:
        return _OF_32.pack(_UINT32, number)
    return _OF_64.pack(_UINT64, number)


_OF_16, _OF_32, _OF_64 = struct.Struct(">BH"), struct.Struct(">BI"), struct.Struct(">BQ")


def _id_at(header: bytes, at: int) -> tuple[int, int]:
    """A whole number and where it ends; 0 where there is none."""
    first = header[at] if at < len(header) else 0
    if first < 0x80:
        return first, at + 1
    end = at + 1 + _WIDTHS.get(first, 0)
    return int.from_bytes(header[at + 1 : end], "big"), end


@lru_cache(KNOWN)
def _infer_tail(tensors: tuple[TensorHeader, ...]) -> bytes:
    return _entries({"tensors": _described(tensors)})


@lru_cache(KNOWN)
def _result_tail(
    tensors: tuple[TensorHeader, ...],
    plan: int,
    route: tuple[str, ...],
    accuracy: float,
    budget_ms: float,
    exit_: str,
    left: str,
    confidence: float | None,
    exits: tuple[str, ...],
) -> bytes:
    told = {
        "tensors": _described(tensors),
        "plan": plan,
        "route": route,
        "accuracy": accuracy,
        "budget_ms": budget_ms,
        "exit": exit_,
        "left": left,
        "confidence": confidence,
    }
    return _entries({**told, "exits": exits} if exits else told)


def _described(tensors: tuple[TensorHeader, ...]) -> list[dict[str, Any]]:
    return [{"dtype": t.dtype, "shape": t.shape} for t in tensors]


@lru_cache(KNOWN)
def _infer_tensors(tail: bytes) -> Announced | None:
    told = _map_of(1, tail)
    return None if told is None else _announced(told, MAX_TENSORS)


@lru_cache(KNOWN)
def _result_values(keys: int, tail: bytes) -> tuple[Lasting, Announced] | None:
    told = _map_of(keys - 6, tail)
    announced = None if told is None else _announced(told, MAX_REPLY_TENSORS)
    if told is None or announced is None:
        return None
    try:
        values = lasting(told, announced.tensors)
    except (KeyError, Unfit):
        return None
    # How many tensors each exit has is for `codec` to complain about.
    return None if values.exits and len(values.tensors) % len(values.exits) else (values, announced)


def _announced(told: Mapping[str, Any], most: int) -> Announced | None:
    described = told.get("tensors")
    if type(described) is not list or not 1 <= len(described) <= most:
        return None
    try:
        return Announced.of(tuple(map(tensor, described)))
    except Unfit:
        return None


def _map_of(keys: int, tail: bytes) -> dict[str, Any] | None:
    """The map of so many keys whose entries these bytes are; None where they are something else.

    Extension types are refused, as in every header.
    """
    try:
        told = msgpack.unpackb(bytes((0x80 | keys,)) + tail, ext_hook=_no_extension)
    except ValueError:
        return None
    # Fewer: a key came twice.
    return told if type(told) is dict and len(told) == keys else None


def _no_extension(kind: int, _: bytes) -> Any:
    raise ValueError(f"ext type {kind}")
