"""What each key of each message may hold, as tables, and the checks that the tables are made of.

Requests are taken strictly: a key that is missing, unknown or of the wrong type is refused. Replies and
events may carry keys that this version does not know, so that a later daemon can say more to an older
client. The two messages of every frame, `infer` and `result`, are checked by hand in `codec` and `headers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schedulerd.wire.messages import (
    DTYPES,
    MAX_EXITS,
    MAX_NAME_CHARACTERS,
    MAX_RANK,
    MAX_TENSOR_BYTES,
    Addition,
    Answer,
    Apps,
    Camera,
    Code,
    Drain,
    DropOverrides,
    Failure,
    LogLevel,
    Models,
    Objective,
    Pin,
    Ping,
    Pong,
    Register,
    Registered,
    Reload,
    Resume,
    SetBudget,
    SetLimit,
    SetPriority,
    ShowOverrides,
    ShowPlan,
    Status,
    TensorHeader,
    Unpin,
    Unregister,
    Unregistered,
    WhatIf,
    Why,
)

Check = Callable[[Any], Any]
"""A decoded value to the one that the message wants; raises `Unfit`."""


class Unfit(Exception):
    """A value that its key may not hold."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Schema(NamedTuple):
    """The keys of one message besides `v`, `op` and `id`; an absent optional key takes its default."""

    message: type[Any]
    required: Mapping[str, Check] = {}
    optional: Mapping[str, Check] = {}

    def read(self, header: Mapping[str, Any], message_id: int) -> Any:
        """The message that a header describes; raises `Unfit` naming the key. Unknown keys are left alone."""
        values = {}
        for key, check in self.required.items():
            if key not in header:
                raise Unfit(Code.BAD_MESSAGE, f"key {key!r} is missing")
            values[key] = check_key(key, check, header[key])
        for key, check in self.optional.items():
            if key in header:
                values[key] = check_key(key, check, header[key])
        return self.message(id=message_id, **values)

    def unknown(self, header: Mapping[str, Any]) -> list[str]:
        """Keys of a header that this message does not have."""
        known = {"v", "op", "id", *self.required, *self.optional}
        # Keys may be of any type that msgpack has: they sort by how they are written.
        return sorted((key for key in header if key not in known), key=repr)


def check_key(key: str, check: Check, value: Any) -> Any:
    """The value of one key; what is wrong with it names the key."""
    try:
        return check(value)
    except Unfit as unfit:
        raise Unfit(unfit.code, f"{key} {unfit}") from None


def shown(value: object) -> str:
    """A value as it goes into a message: short, whatever was sent."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Checks.


def number(value: Any) -> float:
    """A finite number; an integer is taken as one, a bool is not."""
    if type(value) is not float:
        if type(value) is not int:
            raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be a number")
        return float(value)
    if not math.isfinite(value):
        raise Unfit(Code.BAD_VALUE, f"is {value}; it must be a finite number")
    return value


def integer(value: Any) -> int:
    """An integer that is not a bool."""
    if type(value) is not int:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be an integer")
    return value


def flag(value: Any) -> bool:
    """A bool."""
    if type(value) is not bool:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be true or false")
    return value


def text(value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be a string")
    return value


def name(value: Any) -> str:
    """The name of a model or an app: printable, so that it can stand in a log and on a terminal."""
    given = text(value)
    if not 1 <= len(given) <= MAX_NAME_CHARACTERS or not given.isprintable():
        raise Unfit(Code.BAD_VALUE, f"is {shown(given)}; a name has 1 to {MAX_NAME_CHARACTERS} printable characters")
    return given


def texts(value: Any) -> tuple[str, ...]:
    """An array of strings."""
    if type(value) is not list or not all(type(item) is str for item in value):
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be an array of strings")
    return tuple(value)


def exits(value: Any) -> tuple[str, ...]:
    """An array of the names of exits."""
    given = texts(value)
    if len(given) > MAX_EXITS:
        raise Unfit(Code.TOO_LARGE, f"has {len(given)} names; the limit is {MAX_EXITS}")
    return given


def numbers(value: Any) -> dict[str, float]:
    """A map of numbers by name."""
    return {text(key): number(item) for key, item in mapping(value).items()}


def pins(value: Any) -> dict[str, str]:
    """A map of variants by block."""
    return {name(key): name(item) for key, item in mapping(value).items()}


def thresholds(value: Any) -> dict[str, float]:
    """A map of confidences by exit."""
    given = numbers(value)
    if len(given) > MAX_EXITS:
        raise Unfit(Code.TOO_LARGE, f"has {len(given)} exits; the limit is {MAX_EXITS}")
    return given


def mapping(value: Any) -> dict[str, Any]:
    """A map."""
    if type(value) is not dict:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be a map")
    return value


def tensor(value: Any) -> TensorHeader:
    """A dtype that may travel and a shape of whole dimensions from 1, inside the limits."""
    if type(value) is not dict or value.keys() != {"dtype", "shape"}:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; a tensor has the keys dtype and shape")
    dtype, shape = value["dtype"], value["shape"]
    if type(dtype) is not str or dtype not in DTYPES:
        raise Unfit(Code.BAD_TENSOR, f"has dtype {shown(dtype)}; it must be one of {', '.join(DTYPES)}")
    if type(shape) is not list or len(shape) > MAX_RANK:
        raise Unfit(Code.BAD_TENSOR, f"has shape {shown(shape)}; it must be an array of at most {MAX_RANK} sizes")
    for size in shape:
        if type(size) is not int or size < 1:
            raise Unfit(Code.BAD_TENSOR, f"has shape {shown(shape)}; every size must be an integer from 1")
    header = TensorHeader(dtype, tuple(shape))
    if header.size_bytes > MAX_TENSOR_BYTES:
        raise Unfit(Code.TOO_LARGE, f"is {header}, {header.size_bytes} bytes; the limit is {MAX_TENSOR_BYTES} bytes")
    return header


def tensors(value: Any) -> tuple[TensorHeader, ...]:
    """An array of what `tensor` takes."""
    if type(value) is not list:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be an array of tensors")
    return tuple(tensor(item) for item in value)


def camera(value: Any) -> Camera:
    """What a camera gives: whole sizes from 1 of frames inside the limits, and three numbers for the channels."""
    given = mapping(value)
    unknown = sorted(given.keys() - _CAMERA.keys(), key=repr)
    if unknown or not {"height", "width"} <= given.keys():
        raise Unfit(Code.BAD_MESSAGE, f"has {shown(value)}; a camera has the keys {', '.join(_CAMERA)}")
    found = Camera(**{key: check_key(key, check, given[key]) for key, check in _CAMERA.items() if key in given})
    if found.frame.size_bytes > MAX_TENSOR_BYTES:
        raise Unfit(Code.TOO_LARGE, f"gives {found.frame}; the limit is {MAX_TENSOR_BYTES} bytes a frame")
    return found


def _size(value: Any) -> int:
    given = integer(value)
    if given < 1:
        raise Unfit(Code.BAD_VALUE, f"is {given}; it must be from 1")
    return given


def _of_channels(value: Any) -> tuple[float, ...]:
    if type(value) is not list or len(value) != 3:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be an array of 3 numbers, one a channel")
    return tuple(number(item) for item in value)


def frame_number(value: Any) -> int:
    """A frame's place in its stream."""
    given = integer(value)
    if given < 0:
        raise Unfit(Code.BAD_VALUE, f"is {given}; frames are counted from 0")
    return given


def additions(value: Any) -> tuple[Addition, ...]:
    """An array of apps that are imagined to join."""
    if type(value) is not list:
        raise Unfit(Code.BAD_MESSAGE, f"is {shown(value)}; it must be an array of maps")
    return tuple(map(_addition, value))


def _addition(value: Any) -> Addition:
    if type(value) is not dict or value.keys() != _ADDITION.keys():
        raise Unfit(Code.BAD_MESSAGE, f"has {shown(value)}; an app to add has the keys {', '.join(_ADDITION)}")
    return Addition(**{key: check_key(key, check, value[key]) for key, check in _ADDITION.items()})


_ADDITION: Mapping[str, Check] = {"model": name, "budget_ms": number, "rate_hz": number}


def code(value: Any) -> Code:
    """A refusal's code. One that a later daemon invented is `internal` to us: not ours to act on."""
    try:
        return Code(text(value))
    except ValueError:
        return Code.INTERNAL


def nullable(check: Check) -> Check:
    """Nil, or what `check` takes."""
    return lambda value: None if value is None else check(value)


_CAMERA: Mapping[str, Check] = {
    "height": _size,
    "width": _size,
    "mean": nullable(_of_channels),
    "std": nullable(_of_channels),
    "bgr": flag,
}


# Tables.

REQUESTS: Mapping[str, Schema] = {
    "register": Schema(
        Register,
        {"model": name, "budget_ms": nullable(number), "rate_hz": number},
        {
            "priority": integer,
            "accuracy_floor": number,
            "late": text,
            "app": nullable(name),
            "exits": nullable(thresholds),
            "percentile": number,
            "camera": nullable(camera),
        },
    ),
    "unregister": Schema(Unregister),
    "ping": Schema(Ping),
    "status": Schema(Status),
    "apps": Schema(Apps),
    "plan": Schema(ShowPlan),
    "models": Schema(Models),
    "set_budget": Schema(SetBudget, {"app": name, "budget_ms": number}),
    "set_priority": Schema(SetPriority, {"app": name, "priority": integer}),
    "pin": Schema(Pin, {"app": name}, {"blocks": pins}),
    "unpin": Schema(Unpin, {"app": name}, {"blocks": texts}),
    "drain": Schema(Drain, {}, {"app": nullable(name), "timeout_s": number}),
    "resume": Schema(Resume, {}, {"app": nullable(name)}),
    "set_limit": Schema(SetLimit, {"what": text, "value_bytes": nullable(integer)}),
    "why": Schema(Why, {"app": name}),
    "whatif": Schema(
        WhatIf,
        {},
        {
            "budgets_ms": numbers,
            "memory_bytes": nullable(integer),
            "add": additions,
            "objective": nullable(text),
        },
    ),
    "objective": Schema(Objective, {}, {"objective": nullable(text)}),
    "log_level": Schema(LogLevel, {}, {"level": nullable(text)}),
    "reload": Schema(Reload),
    "overrides": Schema(ShowOverrides),
    "drop_overrides": Schema(DropOverrides, {}, {"app": nullable(name)}),
}

REPLIES: Mapping[str, Schema] = {
    "registered": Schema(
        Registered,
        {
            "app": text,
            "model": text,
            "input": tensor,
            "output": tensor,
            "labels": texts,
            "route": texts,
            "accuracy": number,
            "latency_ms": number,
            "latency_p95_ms": number,
            "miss_ms": number,
            "plan": integer,
        },
        {"outputs": tensors, "policy": numbers, "exit_shares": numbers, "exits": texts, "credit": integer},
    ),
    "unregistered": Schema(Unregistered),
    "pong": Schema(Pong),
    "answer": Schema(Answer, {"result": mapping}),
    "failure": Schema(Failure, {"code": code, "message": text}),
    "ping": Schema(Ping),
}
