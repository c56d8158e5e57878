"""The header frame of a message: packed, unpacked within the limits, and read by the tables of `schema`.

It is all that there is to messages without tensors, so an operator's tool speaks the protocol with this file alone and
starts without numpy; `codec` adds what travels with frames. Everything that comes in is checked here or there, and
`WireError` is the only thing that bad frames raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from schedulerd.wire.messages import (
    DEFAULT_PERCENTILE,
    MAX_ARRAY_LENGTH,
    MAX_HEADER_BYTES,
    MAX_MAP_LENGTH,
    MAX_REPLY_HEADER_BYTES,
    MAX_REPLY_LENGTH,
    MAX_STRING_BYTES,
    PROTOCOL_VERSION,
    Addition,
    Camera,
    Code,
    Event,
    Message,
    Register,
    TensorHeader,
)
from schedulerd.wire.schema import REPLIES, REQUESTS, Schema, Unfit, integer, number, shown

Frame = bytes | memoryview

_OPS = {schema.message: op for table in (REQUESTS, REPLIES) for op, schema in table.items()}
_SILENT = (("exits", None), ("percentile", DEFAULT_PERCENTILE), ("camera", None))
"""Keys of a registration that came later, with what they mean when they are absent."""
_KEYS = {message: tuple(key for key in message._fields if key != "id") for message in _OPS}


class WireError(Exception):
    """Frames that are no message, or one over a limit; `id` is the message's, 0 when it cannot be read."""

    def __init__(self, code: Code, message: str, message_id: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.id = message_id


# Out.


def packed(message: Message) -> bytes:
    """The header of a message that has no tensors."""
    kind = type(message)
    header = {"v": PROTOCOL_VERSION, "op": _OPS[kind], "id": message.id}
    header.update((key, _told(getattr(message, key))) for key in _KEYS[kind])
    if kind is Register:
        # A daemon from before there were such keys refuses them, so they travel only where they say something.
        header = {key: value for key, value in header.items() if (key, value) not in _SILENT}
    whole: bytes = msgpack.packb(header)
    return whole


def _told(value: Any) -> Any:
    """A value of a message as it travels: what has keys of its own is a map, and msgpack makes an array of a tuple."""
    kind = type(value)
    if kind is tuple:
        return [_told(item) for item in value]
    if kind is TensorHeader or kind is Addition:
        return value._asdict()
    if kind is Camera:
        return {key: part for key, part in value._asdict().items() if part is not None and part is not False}
    return value


# In.


def decode_plain_reply(frames: Sequence[Frame]) -> Any:
    """What the daemon says where it sends no tensors: a `Reply` other than `Result`, or a ping. Raises `WireError`."""
    header = reply_header(frames)
    op, message_id = op_and_id(header)
    return plain_reply(header, op, message_id, frames)


def plain_reply(header: Any, op: str, message_id: int, frames: Sequence[Frame]) -> Any:
    """The message of a reply's header whose envelope has been read. Raises `WireError`."""
    schema = REPLIES.get(op)
    if schema is None:
        raise WireError(Code.UNKNOWN_OP, f"op is {shown(op)}, which this client does not know", message_id)
    return message_of(schema, header, message_id, frames)


def request_header(frames: Sequence[Frame]) -> Any:
    """What the first frame of a request says, within its limits. Raises `WireError`."""
    return _unpack(frames, MAX_HEADER_BYTES, MAX_MAP_LENGTH, MAX_ARRAY_LENGTH, MAX_STRING_BYTES)


def reply_header(frames: Sequence[Frame]) -> Any:
    """What the first frame of a reply says, within its limits. Raises `WireError`."""
    return _unpack(frames, MAX_REPLY_HEADER_BYTES, MAX_REPLY_LENGTH, MAX_REPLY_LENGTH, MAX_REPLY_LENGTH)


def _unpack(frames: Sequence[Frame], header_bytes: int, entries: int, items: int, string_bytes: int) -> Any:
    if not frames:
        raise WireError(Code.BAD_MESSAGE, "no frames; a message begins with a header frame")
    header = frames[0]
    if len(header) > header_bytes:
        raise WireError(Code.TOO_LARGE, f"header has {len(header)} bytes; the limit is {header_bytes}")
    try:
        return msgpack.unpackb(
            header,
            max_map_len=entries,
            max_array_len=items,
            max_str_len=string_bytes,
            max_bin_len=0,
            max_ext_len=0,
            ext_hook=_refuse_ext,
        )
    except ValueError as error:
        raise WireError(Code.BAD_MESSAGE, f"header is not msgpack within the limits: {shown(str(error))}") from None


def _refuse_ext(kind: int, _: bytes) -> Any:
    raise ValueError(f"ext type {kind} may not travel")


def op_and_id(header: Any) -> tuple[str, int]:
    """`op` and `id` of a header. The id is read first, so that every later refusal can carry it."""
    if type(header) is not dict:
        raise WireError(Code.BAD_MESSAGE, f"header is {shown(header)}; it must be a map")
    message_id = header.get("id")
    if type(message_id) is not int or message_id < 0:
        raise WireError(Code.BAD_MESSAGE, f"id is {shown(message_id)}; it must be an integer from 1 to 2^64-1")
    version = header.get("v")
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise WireError(
            Code.UNSUPPORTED_VERSION,
            f"v is {shown(version)}; this side speaks {PROTOCOL_VERSION}",
            message_id,
        )
    op = header.get("op")
    if type(op) is not str:
        raise WireError(Code.BAD_MESSAGE, f"op is {shown(op)}; it must be a string", message_id)
    return op, message_id


def message_of(schema: Schema, header: Mapping[str, Any], message_id: int, frames: Sequence[Frame]) -> Any:
    """The message of a header by its schema; no frames may follow. Raises `WireError`."""
    if len(frames) > 1:
        raise WireError(Code.BAD_MESSAGE, f"{len(frames) - 1} frames follow a header that announces none", message_id)
    try:
        return schema.read(header, message_id)
    except Unfit as unfit:
        raise WireError(unfit.code, str(unfit), message_id) from None


# Events.


def encode_event(kind: str, body: Mapping[str, Any], *, seq: int, at: float) -> list[Frame]:
    """The frames of an event: its topic, then the event itself. `at` is in Unix seconds."""
    event = {"v": PROTOCOL_VERSION, "kind": kind, "seq": seq, "at": at, "body": body}
    return [kind.encode(), msgpack.packb(event)]


def decode_event(frames: Sequence[Frame]) -> Event:
    """An event as it came. Raises `WireError`."""
    if len(frames) != 2:
        raise WireError(Code.BAD_MESSAGE, f"{len(frames)} frames; an event has a topic and a body")
    header = reply_header(frames[1:])
    if type(header) is not dict or header.get("v") != PROTOCOL_VERSION:
        raise WireError(Code.UNSUPPORTED_VERSION, f"event {shown(header)} is not of version {PROTOCOL_VERSION}")
    try:
        kind, body = header["kind"], header["body"]
        if type(kind) is not str or type(body) is not dict:
            raise WireError(Code.BAD_MESSAGE, f"kind {shown(kind)} or body {shown(body)} has the wrong type")
        return Event(kind, integer(header["seq"]), number(header["at"]), body)
    except KeyError as missing:
        raise WireError(Code.BAD_MESSAGE, f"key {missing} of the event is missing") from None
    except Unfit as unfit:
        raise WireError(unfit.code, f"a value of the event {unfit}") from None
