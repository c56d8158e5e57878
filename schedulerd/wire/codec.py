"""Frames to messages and back.

A message is one msgpack header frame, then one frame for each tensor that the header describes.
Messages without tensors are for `envelope`, which reads and writes them by the tables of `schema`. `infer` and
`result` travel with every camera frame and are read and written by hand, without tables. Everything that comes in is
checked; `WireError` is the only thing that bad frames raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from schedulerd.wire.envelope import (
    Frame,
    WireError,
    message_of,
    op_and_id,
    packed,
    plain_reply,
    reply_header,
    request_header,
)
from schedulerd.wire.headers import (
    Announced,
    infer_header,
    lasting,
    measured,
    read_infer,
    read_result,
    result_header,
    result_of,
)
from schedulerd.wire.messages import (
    DTYPES,
    MAX_RANK,
    MAX_REPLY_TENSORS,
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
    PROTOCOL_VERSION,
    Code,
    Infer,
    Message,
    Ping,
    Reply,
    Request,
    Result,
    TensorHeader,
)
from schedulerd.wire.schema import (
    REQUESTS,
    Check,
    Unfit,
    check_key,
    exits,
    frame_number,
    name,
    shown,
    tensor,
)

Array = npt.NDArray[Any]

# Little-endian whatever the machine; looking a big-endian dtype up finds nothing.
_NAMES = {np.dtype(name).newbyteorder("<"): name for name in DTYPES}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


# Arrays.


def header_of(array: Array) -> TensorHeader:
    """Dtype and shape of an array as they are announced; `WireError` when such an array may not travel."""
    return _announced(array.dtype, array.shape)


@lru_cache(256)
def _announced(dtype: np.dtype[Any], shape: tuple[int, ...]) -> TensorHeader:
    name = _NAMES.get(dtype)
    if name is None:
        raise WireError(
            Code.BAD_TENSOR,
            f"dtype {dtype.str!r} may not travel; convert to one of {', '.join(DTYPES)}",
        )
    if 0 in shape or len(shape) > MAX_RANK:
        raise WireError(
            Code.BAD_TENSOR,
            f"shape {shape} may not travel; at most {MAX_RANK} dimensions, none of them empty",
        )
    header = TensorHeader(name, shape)
    if header.size_bytes > MAX_TENSOR_BYTES:
        raise WireError(Code.TOO_LARGE, f"{header.size_bytes} bytes in one tensor; the limit is {MAX_TENSOR_BYTES}")
    return header


def array_of(header: TensorHeader, frame: Frame) -> Array:
    """A tensor frame as a read-only or read-write array on the frame's own memory, no copy."""
    return np.ndarray(header.shape, _DTYPES[header.dtype], frame)


# Messages out.


def encode(message: Message, arrays: Sequence[Array] = ()) -> list[Frame]:
    """The frames of a message: header, then each array's own memory (copied only where not contiguous).

    `message.tensors` and `arrays` must agree; whoever makes the message takes the headers with `header_of`.
    """
    if type(message) is Result:
        return [result_header(message), *map(_frame, arrays)]
    if type(message) is Infer:
        return [_header_of_infer(message), *map(_frame, arrays)]
    return [packed(message)]


def _frame(array: Array) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


def _header_of_infer(message: Infer) -> bytes:
    if not message.exits and message.stream is None:
        return infer_header(message.id, message.tensors)
    header: dict[str, Any] = {
        "v": PROTOCOL_VERSION,
        "op": "infer",
        "id": message.id,
        "tensors": [{"dtype": t.dtype, "shape": t.shape} for t in message.tensors],
    }
    if message.exits:
        header["exits"] = message.exits
    if message.stream is not None:
        header["stream"], header["frame"] = message.stream, message.frame
    packed: bytes = msgpack.packb(header)
    return packed


# Messages in.


def decode_request(frames: Sequence[Frame]) -> tuple[Request, Sequence[Frame]]:
    """What a client asks, with its tensor frames. Raises `WireError`."""
    known = read_infer(frames[0]) if frames and type(frames[0]) is bytes else None
    if known is not None:
        return Infer(known[0], known[1].tensors), buffers_of(known[1], known[0], frames)
    header = request_header(frames)
    op, message_id = op_and_id(header)
    if message_id == 0:
        raise WireError(Code.BAD_MESSAGE, "id is 0, which is the daemon's own; a client counts from 1")
    if op == "infer":
        return _infer(header, message_id, frames)
    schema = REQUESTS.get(op)
    if schema is None:
        raise WireError(
            Code.UNKNOWN_OP, f"op is {shown(op)}; this daemon knows infer, {', '.join(REQUESTS)}", message_id
        )
    unknown = schema.unknown(header)
    if unknown:
        raise WireError(Code.BAD_MESSAGE, f"{op} has no key {shown(unknown[0])}; leave it out", message_id)
    return message_of(schema, header, message_id, frames), []


def decode_reply(frames: Sequence[Frame]) -> tuple[Reply | Ping, Sequence[Frame]]:
    """What the daemon says, with its tensor frames. Raises `WireError`."""
    known = read_result(frames[0]) if frames and type(frames[0]) is bytes else None
    if known is not None:
        return known.result(), buffers_of(known.announced, known.id, frames)
    header = reply_header(frames)
    op, message_id = op_and_id(header)
    if op == "result":
        return _result(header, message_id, frames)
    return plain_reply(header, op, message_id, frames), []


def _infer(header: dict[str, Any], message_id: int, frames: Sequence[Frame]) -> tuple[Infer, Sequence[Frame]]:
    extras = None if len(header) == 4 else _extras(header, message_id)
    tensors, buffers = _tensors(header.get("tensors"), message_id, frames, MAX_TENSORS)
    return Infer(message_id, tensors) if extras is None else Infer(message_id, tensors, **extras), buffers


_EXTRAS: Mapping[str, Check] = {"exits": exits, "stream": name, "frame": frame_number}
"""Keys of `infer` that few frames have."""


def _extras(header: dict[str, Any], message_id: int) -> dict[str, Any]:
    """The keys of a frame that is not like most; there must be no others than them and those of every frame."""
    extras = header.keys() - {"v", "op", "id", "tensors"}
    unknown = sorted(extras - _EXTRAS.keys(), key=repr)
    if unknown or "tensors" not in header:
        problem = f"has no key {shown(unknown[0])}; leave it out" if unknown else "needs the key 'tensors'"
        raise WireError(Code.BAD_MESSAGE, f"infer {problem}", message_id)
    try:
        values = {key: check_key(key, _EXTRAS[key], header[key]) for key in extras}
    except Unfit as unfit:
        raise WireError(unfit.code, str(unfit), message_id) from None
    if values.get("exits") == ():
        raise WireError(Code.BAD_VALUE, "exits is empty; name an exit, or leave the key out", message_id)
    if ("stream" in extras) != ("frame" in extras):
        given, lacking = ("stream", "frame") if "stream" in extras else ("frame", "stream")
        raise WireError(Code.BAD_MESSAGE, f"infer has the key {given!r} without {lacking!r}; send both", message_id)
    return values


def _result(header: dict[str, Any], message_id: int, frames: Sequence[Frame]) -> tuple[Result, Sequence[Frame]]:
    tensors, buffers = _tensors(header.get("tensors"), message_id, frames, MAX_REPLY_TENSORS)
    try:
        result = result_of(message_id, lasting(header, tensors), *measured(header))
    except KeyError as missing:
        raise WireError(Code.BAD_MESSAGE, f"key {missing} is missing", message_id) from None
    except Unfit as unfit:
        raise WireError(unfit.code, f"a value of the result {unfit}", message_id) from None
    if result.exits and len(tensors) % len(result.exits):
        problem = f"{len(tensors)} tensors for {len(result.exits)} exits; each has as many as the others"
        raise WireError(Code.BAD_MESSAGE, problem, message_id)
    return result, buffers


def _tensors(
    described: Any, message_id: int, frames: Sequence[Frame], limit: int
) -> tuple[tuple[TensorHeader, ...], Sequence[Frame]]:
    """The tensor headers and the frames that belong to them; both sides must agree on number and length."""
    if type(described) is not list or not described:
        raise WireError(Code.BAD_MESSAGE, f"tensors is {shown(described)}; it must be an array of them", message_id)
    count = len(described)
    if count > limit:
        raise WireError(Code.TOO_LARGE, f"{count} tensors; the limit is {limit} in such a message", message_id)
    headers = []
    for position, description in enumerate(described):
        try:
            headers.append(tensor(description))
        except Unfit as unfit:
            raise WireError(unfit.code, f"tensor {position} {unfit}", message_id) from None
    announced = Announced.of(tuple(headers))
    return announced.tensors, buffers_of(announced, message_id, frames)


def buffers_of(announced: Announced, message_id: int, frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames of the tensors that a header announces; `WireError` unless they agree on number and length."""
    if len(frames) != len(announced.tensors) + 1:
        raise WireError(
            Code.BAD_MESSAGE,
            f"{len(frames) - 1} frames follow a header that announces {len(announced.tensors)}",
            message_id,
        )
    buffers = frames[1:]
    sizes_bytes = tuple(map(len, buffers))
    if sizes_bytes != announced.sizes_bytes:
        pairs = enumerate(zip(sizes_bytes, announced.sizes_bytes, strict=True))
        position = next(position for position, (has, wants) in pairs if has != wants)
        raise WireError(
            Code.BAD_TENSOR,
            f"tensor {position} is announced as {announced.tensors[position]}, {announced.sizes_bytes[position]} "
            f"bytes; its frame has {sizes_bytes[position]}",
            message_id,
        )
    return buffers
