"""Frames to messages and back: every message survives the trip, and bad frames raise `WireError` and nothing else."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.wire.codec import array_of, decode_reply, decode_request, encode, header_of
from schedulerd.wire.envelope import WireError, decode_event, encode_event
from schedulerd.wire.messages import (
    DTYPES,
    MAX_ARRAY_LENGTH,
    MAX_EXITS,
    MAX_HEADER_BYTES,
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
    Addition,
    Answer,
    Apps,
    Camera,
    Code,
    Drain,
    Event,
    Failure,
    Infer,
    LogLevel,
    Models,
    Objective,
    Pin,
    Ping,
    Pong,
    Register,
    Registered,
    Result,
    Resume,
    SetBudget,
    SetLimit,
    SetPriority,
    ShowPlan,
    Status,
    TensorHeader,
    Unpin,
    Unregister,
    Unregistered,
    WhatIf,
    Why,
)

# Strategies.

ids = st.integers(1, 2**64 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**64 - 1)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
words = st.text(max_size=20)
headers = st.builds(TensorHeader, st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 9), max_size=6).map(tuple))
several = st.lists(words, max_size=20).map(tuple)
scalars = st.none() | st.booleans() | whole | finite | words
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)
maps = st.dictionaries(words, trees, max_size=5)

policies = st.dictionaries(words, finite, max_size=MAX_EXITS)

channels = st.none() | st.tuples(finite, finite, finite)
cameras = st.builds(Camera, st.integers(1, 4000), st.integers(1, 4000), channels, channels, st.booleans())

requests = st.one_of(
    st.builds(
        Register,
        *(ids, names, finite, finite, whole, finite, words, st.none() | names, st.none() | policies, finite),
        st.none() | cameras,
    ),
    st.builds(SetBudget, ids, names, finite),
    st.builds(SetPriority, ids, names, whole),
    st.builds(Pin, ids, names, st.dictionaries(names, names, max_size=5)),
    st.builds(Unpin, ids, names, several),
    st.builds(Drain, ids, st.none() | names, finite),
    st.builds(Resume, ids, st.none() | names),
    st.builds(SetLimit, ids, words, st.none() | whole),
    st.builds(Why, ids, names),
    st.builds(Objective, ids, st.none() | words),
    st.builds(LogLevel, ids, st.none() | words),
    st.builds(
        WhatIf,
        ids,
        st.dictionaries(words, finite, max_size=5),
        st.none() | whole,
        st.lists(st.builds(Addition, names, finite, finite), max_size=3).map(tuple),
        st.none() | words,
    ),
    *(st.builds(kind, ids) for kind in (Unregister, Ping, Status, Apps, ShowPlan, Models)),
)
replies = st.one_of(
    st.builds(
        Registered,
        *(ids, words, words, headers, headers, several, several, finite, finite, finite, finite, whole),
        outputs=st.lists(headers, max_size=3).map(tuple),
        policy=policies,
        exit_shares=policies,
        exits=several,
        credit=whole,
    ),
    st.builds(Answer, ids, maps),
    st.builds(Failure, ids, st.sampled_from(Code), words),
    *(st.builds(kind, ids) for kind in (Unregistered, Pong)),
)

FRAME = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
LOGITS = np.linspace(-1, 1, 10, dtype=np.float32).reshape(1, 10)
RESULT = Result(
    id=7,
    tensors=(TensorHeader("float32", (1, 10)),),
    plan=3,
    route=("original", "pruned-50"),
    accuracy=0.97,
    queue_ms=0.2,
    run_ms=1.5,
    budget_ms=25.0,
    deadline_met=True,
)
EARLY = RESULT._replace(exit="exit1", left="confident", confidence=0.75)


def on_the_wire(frames: Any) -> list[bytes]:
    return [bytes(frame) for frame in frames]


# The way there and back.


@given(requests)
def test_every_request_survives_the_trip(request: Any) -> None:
    decoded = decode_request(on_the_wire(encode(request)))
    assert decoded == (request, [])
    assert repr(decoded) == repr((request, [])), "equal tuples may be of different kinds"


@given(replies)
def test_every_reply_survives_the_trip(reply: Any) -> None:
    decoded = decode_reply(on_the_wire(encode(reply)))
    assert decoded == (reply, [])
    assert repr(decoded) == repr((reply, [])), "equal tuples may be of different kinds"


def test_a_request_may_leave_optional_keys_out() -> None:
    header = {"v": 1, "op": "register", "id": 1, "model": "digits", "budget_ms": 25, "rate_hz": 30}
    assert decode_request([msgpack.packb(header)])[0] == Register(1, "digits", 25.0, 30.0)


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_a_frame_arrives_bit_for_bit(wrap: Any) -> None:
    frames = encode(Infer(5, (header_of(FRAME),)), (FRAME,))
    request, buffers = decode_request([bytes(frames[0]), wrap(frames[1])])
    assert request == Infer(5, (TensorHeader("uint8", (32, 32, 3)),))
    np.testing.assert_array_equal(array_of(request.tensors[0], buffers[0]), FRAME)


@pytest.mark.parametrize("result", [RESULT, EARLY, EARLY._replace(left="asked", exits=("exit1",))])
def test_a_result_arrives_bit_for_bit(result: Result) -> None:
    reply, buffers = decode_reply(on_the_wire(encode(result, (LOGITS,))))
    assert reply == result
    assert isinstance(reply, Result)
    np.testing.assert_array_equal(array_of(reply.tensors[0], buffers[0]), LOGITS)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_of_the_protocol_travels(dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    request, buffers = decode_request(encode(Infer(1, (header_of(array),)), (array,)))
    assert isinstance(request, Infer)
    back = array_of(request.tensors[0], buffers[0])
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_frame_can_ask_for_exits() -> None:
    asking = Infer(5, (header_of(FRAME),), ("exit2", "final"))
    assert decode_request(on_the_wire(encode(asking, (FRAME,))))[0] == asking


def test_a_frame_can_be_one_of_a_stream() -> None:
    numbered = Infer(5, (header_of(FRAME),), stream="front door", frame=2**63)
    assert decode_request(on_the_wire(encode(numbered, (FRAME,))))[0] == numbered
    both = numbered._replace(exits=("final",))
    assert decode_request(on_the_wire(encode(both, (FRAME,))))[0] == both


def test_keys_that_came_later_travel_only_where_they_say_something() -> None:
    """An older daemon refuses a key that it does not know."""
    plain = msgpack.unpackb(encode(Register(1, "digits", 25.0, 30.0))[0])
    assert plain.keys() & {"exits", "percentile", "camera"} == set()
    assert list(msgpack.unpackb(encode(Infer(1, (header_of(FRAME),)), (FRAME,))[0])) == ["v", "op", "id", "tensors"]
    camera = msgpack.unpackb(encode(Register(1, "digits", 25.0, 30.0, camera=Camera(480, 640)))[0])["camera"]
    assert camera == {"height": 480, "width": 640}


def test_an_array_is_sent_from_its_own_memory() -> None:
    frames = encode(Infer(1, (header_of(FRAME),)), (FRAME,))
    assert np.shares_memory(np.frombuffer(frames[1], np.uint8), FRAME)


def test_an_array_that_is_not_contiguous_is_sent_in_c_order() -> None:
    turned = FRAME.transpose(1, 0, 2)
    frames = encode(Infer(1, (header_of(turned),)), (turned,))
    assert bytes(frames[1]) == turned.tobytes()


def test_a_scalar_is_a_tensor_of_rank_zero() -> None:
    scalar = np.array(2.5, np.float32)
    request, buffers = decode_request(encode(Infer(1, (header_of(scalar),)), (scalar,)))
    assert isinstance(request, Infer)
    assert array_of(request.tensors[0], buffers[0]) == scalar


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros(3, np.uint16), Code.BAD_TENSOR),
        (np.zeros(3, ">f4"), Code.BAD_TENSOR),
        (np.array([None]), Code.BAD_TENSOR),
        (np.array(["text"]), Code.BAD_TENSOR),
        (np.zeros((0, 3), np.uint8), Code.BAD_TENSOR),
        (np.zeros((1,) * 7, np.uint8), Code.BAD_TENSOR),
        (np.broadcast_to(np.uint8(0), (MAX_TENSOR_BYTES + 1,)), Code.TOO_LARGE),
    ],
    ids=["uint16", "big-endian", "objects", "text", "empty", "rank 7", "too large"],
)
def test_an_array_that_may_not_travel_is_refused_before_it_is_sent(array: Any, code: Code) -> None:
    with pytest.raises(WireError) as caught:
        header_of(array)
    assert caught.value.code is code


# Bad requests.


def infer_header(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "op": "infer", "id": 9, "tensors": [{"dtype": "uint8", "shape": [2, 2]}], **changes}


def register_header(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "op": "register", "id": 9, "model": "digits", "budget_ms": 25.0, "rate_hz": 30.0, **changes}


def camera_header(**changes: Any) -> list[bytes]:
    return [msgpack.packb(register_header(camera={"height": 480, "width": 640, **changes}))]


def pin_header(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "op": "pin", "id": 9, "app": "cam", **changes}


def whatif_header(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "op": "whatif", "id": 9, **changes}


def with_addition(addition: Any) -> dict[str, Any]:
    return whatif_header(add=[addition])


def without(header: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name != key}


TENSOR = {"dtype": "uint8", "shape": [2, 2]}
FOUR = b"\x00" * 4
ADDITION = {"model": "digits", "budget_ms": 50.0, "rate_hz": 15.0}

BAD_REQUESTS: dict[str, tuple[list[bytes], Code, int]] = {
    "no frames": ([], Code.BAD_MESSAGE, 0),
    "empty header": ([b""], Code.BAD_MESSAGE, 0),
    "not msgpack": ([b"\xc1"], Code.BAD_MESSAGE, 0),
    "cut short": ([msgpack.packb(infer_header())[:-3], FOUR], Code.BAD_MESSAGE, 0),
    "trailing bytes": ([msgpack.packb(infer_header()) + b"\x00", FOUR], Code.BAD_MESSAGE, 0),
    "not a map": ([msgpack.packb([1, 2, 3])], Code.BAD_MESSAGE, 0),
    "ext type": ([msgpack.packb(infer_header(tensors=msgpack.ExtType(5, b"x")))], Code.BAD_MESSAGE, 0),
    "empty ext type": ([msgpack.packb(infer_header(tensors=msgpack.ExtType(5, b"")))], Code.BAD_MESSAGE, 0),
    "time stamp": ([msgpack.packb(infer_header(tensors=msgpack.Timestamp(1)))], Code.BAD_MESSAGE, 0),
    "binary value": ([msgpack.packb(infer_header(op=b"infer"))], Code.BAD_MESSAGE, 0),
    "not UTF-8": ([b"\x81\xa1v\xa2\xff\xfe"], Code.BAD_MESSAGE, 0),
    "key is a number": ([b"\x81\x01\x02"], Code.BAD_MESSAGE, 0),
    "key is empty binary": ([b"\x87" + msgpack.packb(register_header())[1:] + b"\xc4\x00\x01"], Code.BAD_MESSAGE, 9),
    "nested deeply": ([b"\x91" * 60_000], Code.BAD_MESSAGE, 0),
    "header too large": ([b"\x00" * (MAX_HEADER_BYTES + 1)], Code.TOO_LARGE, 0),
    "array too long": ([msgpack.packb(infer_header(tensors=[TENSOR] * (MAX_ARRAY_LENGTH + 1)))], Code.BAD_MESSAGE, 0),
    "string too long": ([msgpack.packb(register_header(model="x" * 2000))], Code.BAD_MESSAGE, 0),
    "id missing": ([msgpack.packb(without(infer_header(), "id"))], Code.BAD_MESSAGE, 0),
    "id zero": ([msgpack.packb(infer_header(id=0)), FOUR], Code.BAD_MESSAGE, 0),
    "id negative": ([msgpack.packb(infer_header(id=-1)), FOUR], Code.BAD_MESSAGE, 0),
    "id a bool": ([msgpack.packb(infer_header(id=True)), FOUR], Code.BAD_MESSAGE, 0),
    "version missing": ([msgpack.packb(without(infer_header(), "v")), FOUR], Code.UNSUPPORTED_VERSION, 9),
    "version of tomorrow": ([msgpack.packb(infer_header(v=2)), FOUR], Code.UNSUPPORTED_VERSION, 9),
    "version a bool": ([msgpack.packb(infer_header(v=True)), FOUR], Code.UNSUPPORTED_VERSION, 9),
    "op missing": ([msgpack.packb(without(infer_header(), "op")), FOUR], Code.BAD_MESSAGE, 9),
    "op unknown": ([msgpack.packb(infer_header(op="dance")), FOUR], Code.UNKNOWN_OP, 9),
    "op of a reply": ([msgpack.packb({"v": 1, "op": "pong", "id": 9})], Code.UNKNOWN_OP, 9),
    "tensors missing": ([msgpack.packb(without(infer_header(), "tensors"))], Code.BAD_MESSAGE, 9),
    "tensors a map": ([msgpack.packb(infer_header(tensors={})), FOUR], Code.BAD_MESSAGE, 9),
    "no tensors": ([msgpack.packb(infer_header(tensors=[]))], Code.BAD_MESSAGE, 9),
    "too many tensors": (
        [msgpack.packb(infer_header(tensors=[TENSOR] * (MAX_TENSORS + 1))), *[FOUR] * (MAX_TENSORS + 1)],
        Code.TOO_LARGE,
        9,
    ),
    "unknown key": ([msgpack.packb(infer_header(colour=1)), FOUR], Code.BAD_MESSAGE, 9),
    "frame missing": ([msgpack.packb(infer_header())], Code.BAD_MESSAGE, 9),
    "frame too many": ([msgpack.packb(infer_header()), FOUR, FOUR], Code.BAD_MESSAGE, 9),
    "frame too short": ([msgpack.packb(infer_header()), b"\x00" * 3], Code.BAD_TENSOR, 9),
    "frame too long": ([msgpack.packb(infer_header()), b"\x00" * 5], Code.BAD_TENSOR, 9),
    "tensor not a map": ([msgpack.packb(infer_header(tensors=[5])), FOUR], Code.BAD_MESSAGE, 9),
    "tensor key missing": ([msgpack.packb(infer_header(tensors=[{"dtype": "uint8"}])), FOUR], Code.BAD_MESSAGE, 9),
    "tensor key unknown": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "name": "x"}])), FOUR], Code.BAD_MESSAGE, 9),
    "dtype unknown": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "dtype": "object"}])), FOUR], Code.BAD_TENSOR, 9),
    "dtype a number": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "dtype": 3}])), FOUR], Code.BAD_TENSOR, 9),
    "shape a number": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": 4}])), FOUR], Code.BAD_TENSOR, 9),
    "rank 7": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [1] * 7}])), b"\x00"], Code.BAD_TENSOR, 9),
    "size zero": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [0]}])), b""], Code.BAD_TENSOR, 9),
    "size negative": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [-2, -2]}])), FOUR], Code.BAD_TENSOR, 9),
    "size a bool": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [4, True]}])), FOUR], Code.BAD_TENSOR, 9),
    "size a float": ([msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [4.0]}])), FOUR], Code.BAD_TENSOR, 9),
    "tensor too large": (
        [msgpack.packb(infer_header(tensors=[{**TENSOR, "shape": [2**40, 2**40]}])), FOUR],
        Code.TOO_LARGE,
        9,
    ),
    "frames after a request without": ([msgpack.packb(register_header()), FOUR], Code.BAD_MESSAGE, 9),
    "model missing": ([msgpack.packb(without(register_header(), "model"))], Code.BAD_MESSAGE, 9),
    "model empty": ([msgpack.packb(register_header(model=""))], Code.BAD_VALUE, 9),
    "model unprintable": ([msgpack.packb(register_header(model="\x1b[2J"))], Code.BAD_VALUE, 9),
    "model too long": ([msgpack.packb(register_header(model="x" * 129))], Code.BAD_VALUE, 9),
    "model a number": ([msgpack.packb(register_header(model=4))], Code.BAD_MESSAGE, 9),
    "budget NaN": ([msgpack.packb(register_header(budget_ms=math.nan))], Code.BAD_VALUE, 9),
    "rate infinite": ([msgpack.packb(register_header(rate_hz=math.inf))], Code.BAD_VALUE, 9),
    "budget a string": ([msgpack.packb(register_header(budget_ms="25"))], Code.BAD_MESSAGE, 9),
    "rate a bool": ([msgpack.packb(register_header(rate_hz=True))], Code.BAD_MESSAGE, 9),
    "priority a float": ([msgpack.packb(register_header(priority=5.0))], Code.BAD_MESSAGE, 9),
    "app unprintable": ([msgpack.packb(register_header(app="a\nb"))], Code.BAD_VALUE, 9),
    "registration with an unknown key": ([msgpack.packb(register_header(colour=1))], Code.BAD_MESSAGE, 9),
    "policy a list": ([msgpack.packb(register_header(exits=["exit1"]))], Code.BAD_MESSAGE, 9),
    "threshold NaN": ([msgpack.packb(register_header(exits={"exit1": math.nan}))], Code.BAD_VALUE, 9),
    "threshold a bool": ([msgpack.packb(register_header(exits={"exit1": True}))], Code.BAD_MESSAGE, 9),
    "exit without a name": ([msgpack.packb(register_header(exits={"": 0, "é": "x"}))], Code.BAD_MESSAGE, 9),
    "policy too long": (
        [msgpack.packb(register_header(exits={f"exit{n}": 0 for n in range(MAX_EXITS + 1)}))],
        Code.TOO_LARGE,
        9,
    ),
    "percentile a string": ([msgpack.packb(register_header(percentile="99"))], Code.BAD_MESSAGE, 9),
    "percentile NaN": ([msgpack.packb(register_header(percentile=math.nan))], Code.BAD_VALUE, 9),
    "camera a list": ([msgpack.packb(register_header(camera=[480, 640]))], Code.BAD_MESSAGE, 9),
    "camera without a width": ([msgpack.packb(register_header(camera={"height": 480}))], Code.BAD_MESSAGE, 9),
    "camera with an unknown key": (camera_header(depth=3), Code.BAD_MESSAGE, 9),
    "camera of height 0": (camera_header(height=0), Code.BAD_VALUE, 9),
    "camera of negative width": (camera_header(width=-1), Code.BAD_VALUE, 9),
    "camera of height a float": (camera_header(height=480.0), Code.BAD_MESSAGE, 9),
    "camera of width a bool": (camera_header(width=True), Code.BAD_MESSAGE, 9),
    "camera too large": (camera_header(height=2**31, width=2**31), Code.TOO_LARGE, 9),
    "mean of two numbers": (camera_header(mean=[0.5, 0.5]), Code.BAD_MESSAGE, 9),
    "mean a number": (camera_header(mean=0.5), Code.BAD_MESSAGE, 9),
    "mean NaN": (camera_header(mean=[0.5, math.nan, 0.5]), Code.BAD_VALUE, 9),
    "std infinite": (camera_header(std=[1, 1, math.inf]), Code.BAD_VALUE, 9),
    "std of strings": (camera_header(std=["1", "1", "1"]), Code.BAD_MESSAGE, 9),
    "bgr a number": (camera_header(bgr=1), Code.BAD_MESSAGE, 9),
    "stream without frame": ([msgpack.packb(infer_header(stream="door")), FOUR], Code.BAD_MESSAGE, 9),
    "frame without stream": ([msgpack.packb(infer_header(frame=4)), FOUR], Code.BAD_MESSAGE, 9),
    "stream nil": ([msgpack.packb(infer_header(stream=None, frame=4)), FOUR], Code.BAD_MESSAGE, 9),
    "stream too long": ([msgpack.packb(infer_header(stream="x" * 129, frame=4)), FOUR], Code.BAD_VALUE, 9),
    "stream empty": ([msgpack.packb(infer_header(stream="", frame=4)), FOUR], Code.BAD_VALUE, 9),
    "stream unprintable": ([msgpack.packb(infer_header(stream="a\nb", frame=4)), FOUR], Code.BAD_VALUE, 9),
    "frame negative": ([msgpack.packb(infer_header(stream="door", frame=-1)), FOUR], Code.BAD_VALUE, 9),
    "frame a float": ([msgpack.packb(infer_header(stream="door", frame=4.0)), FOUR], Code.BAD_MESSAGE, 9),
    "frame a bool": ([msgpack.packb(infer_header(stream="door", frame=True)), FOUR], Code.BAD_MESSAGE, 9),
    "pins an array": ([msgpack.packb(pin_header(blocks=["stem"]))], Code.BAD_MESSAGE, 9),
    "pin to a number": ([msgpack.packb(pin_header(blocks={"stem": 3}))], Code.BAD_MESSAGE, 9),
    "pin of a nameless block": ([msgpack.packb(pin_header(blocks={"": "small"}))], Code.BAD_VALUE, 9),
    "pin of nobody": ([msgpack.packb(pin_header(app=None))], Code.BAD_MESSAGE, 9),
    "priority set to a float": (
        [msgpack.packb({"v": 1, "op": "set_priority", "id": 9, "app": "cam", "priority": 5.0})],
        *(Code.BAD_MESSAGE, 9),
    ),
    "drained until for ever": (
        [msgpack.packb({"v": 1, "op": "drain", "id": 9, "timeout_s": math.inf})],
        *(Code.BAD_VALUE, 9),
    ),
    "imagined budgets a list": ([msgpack.packb(whatif_header(budgets_ms=[20.0]))], Code.BAD_MESSAGE, 9),
    "imagined budget infinite": ([msgpack.packb(whatif_header(budgets_ms={"cam": math.inf}))], Code.BAD_VALUE, 9),
    "imagined memory a float": ([msgpack.packb(whatif_header(memory_bytes=1.5))], Code.BAD_MESSAGE, 9),
    "additions a map": ([msgpack.packb(whatif_header(add=ADDITION))], Code.BAD_MESSAGE, 9),
    "addition a string": ([msgpack.packb(with_addition("digits"))], Code.BAD_MESSAGE, 9),
    "addition without a rate": (
        [msgpack.packb(with_addition(without(ADDITION, "rate_hz")))],
        Code.BAD_MESSAGE,
        9,
    ),
    "addition with an unknown key": (
        [msgpack.packb(with_addition({**ADDITION, "app": "x"}))],
        Code.BAD_MESSAGE,
        9,
    ),
    "addition with a rate NaN": (
        [msgpack.packb(with_addition({**ADDITION, "rate_hz": math.nan}))],
        Code.BAD_VALUE,
        9,
    ),
    "why without an app": ([msgpack.packb({"v": 1, "op": "why", "id": 9})], Code.BAD_MESSAGE, 9),
    "objective a number": (
        [msgpack.packb({"v": 1, "op": "objective", "id": 9, "objective": 1})],
        Code.BAD_MESSAGE,
        9,
    ),
    "asked exits a map": ([msgpack.packb(infer_header(exits={"exit1": 0})), FOUR], Code.BAD_MESSAGE, 9),
    "asked exit a number": ([msgpack.packb(infer_header(exits=[1])), FOUR], Code.BAD_MESSAGE, 9),
    "asked for none": ([msgpack.packb(infer_header(exits=[])), FOUR], Code.BAD_VALUE, 9),
    "asked for nil": ([msgpack.packb(infer_header(exits=None)), FOUR], Code.BAD_MESSAGE, 9),
    "asked for too many": ([msgpack.packb(infer_header(exits=["x"] * (MAX_EXITS + 1))), FOUR], Code.TOO_LARGE, 9),
    "asked with an unknown key": ([msgpack.packb(infer_header(exits=["final"], colour=1)), FOUR], Code.BAD_MESSAGE, 9),
    "asked without a tensor": ([msgpack.packb(without(infer_header(exits=["final"]), "tensors"))], Code.BAD_MESSAGE, 9),
    "limit without a value": (
        [msgpack.packb({"v": 1, "op": "set_limit", "id": 9, "what": "memory"})],
        Code.BAD_MESSAGE,
        9,
    ),
}


@pytest.mark.parametrize(("frames", "code", "message_id"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_gets_a_code_and_its_own_id(frames: list[bytes], code: Code, message_id: int) -> None:
    with pytest.raises(WireError) as caught:
        decode_request(frames)
    assert (caught.value.code, caught.value.id) == (code, message_id)


def test_a_refusal_stays_short_whatever_was_sent() -> None:
    with pytest.raises(WireError) as caught:
        decode_request([msgpack.packb(infer_header(op="x" * 1000)), FOUR])
    assert len(str(caught.value)) < 400


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_raise_nothing_but_wire_errors(frames: list[bytes]) -> None:
    for decode in (decode_request, decode_reply, decode_event):
        with pytest.raises(WireError):
            decode(frames)


def valid_headers() -> st.SearchStrategy[dict[str, Any]]:
    messages: list[tuple[Any, Any]] = [(Infer(3, (header_of(FRAME),)), (FRAME,)), (RESULT, (LOGITS,))]
    fixed = [msgpack.unpackb(encode(message, arrays)[0]) for message, arrays in messages]
    drawn = (requests | replies).map(lambda message: msgpack.unpackb(encode(message)[0]))
    return st.sampled_from(fixed) | drawn


@given(valid_headers(), st.data(), trees | st.binary(max_size=3), st.lists(st.binary(max_size=40), max_size=2))
def test_a_spoilt_header_raises_nothing_but_wire_errors(
    header: dict[str, Any], data: st.DataObject, value: Any, frames: list[bytes]
) -> None:
    key = data.draw(st.sampled_from(sorted(header)) | st.text(max_size=5))
    spoilt = without(header, key) if data.draw(st.booleans()) else {**header, key: value}
    for decode in (decode_request, decode_reply):
        with contextlib.suppress(WireError):
            decode([msgpack.packb(spoilt), *frames])


# Replies and events.


def test_a_client_ignores_keys_that_a_later_daemon_adds() -> None:
    header = {**msgpack.unpackb(encode(RESULT, (LOGITS,))[0]), "energy_mj": 3.5}
    assert decode_reply([msgpack.packb(header), LOGITS.tobytes()])[0] == RESULT


def test_a_result_of_a_daemon_from_before_there_were_exits_ran_to_the_end() -> None:
    header = msgpack.unpackb(encode(EARLY, (LOGITS,))[0])
    for key in ("exit", "left", "confidence"):
        del header[key]
    assert decode_reply([msgpack.packb(header), LOGITS.tobytes()])[0] == RESULT


def test_a_registration_without_a_policy_or_a_percentile_is_one_that_an_older_daemon_takes() -> None:
    assert not {"exits", "percentile"} & msgpack.unpackb(encode(Register(1, "digits", 25.0, 30.0))[0]).keys()
    assert "exits" not in msgpack.unpackb(encode(Infer(1, (header_of(FRAME),)), (FRAME,))[0])


def test_the_exits_of_a_result_share_its_tensors_evenly() -> None:
    spoilt = RESULT._replace(left="asked", exits=("exit1", "final"))
    with pytest.raises(WireError, match="1 tensors for 2 exits"):
        decode_reply(on_the_wire(encode(spoilt, (LOGITS,))))


def test_a_code_that_a_later_daemon_adds_is_internal() -> None:
    header = {"v": 1, "op": "failure", "id": 4, "code": "moon_phase", "message": "no"}
    assert decode_reply([msgpack.packb(header)])[0] == Failure(4, Code.INTERNAL, "no")


def test_the_probe_of_the_daemon_has_id_zero() -> None:
    assert decode_reply(on_the_wire(encode(Ping(0))))[0] == Ping(0)


@pytest.mark.parametrize("key", ["plan", "route", "accuracy", "queue_ms", "run_ms", "budget_ms", "deadline_met"])
def test_a_result_without_one_of_its_keys_is_refused(key: str) -> None:
    header = without(msgpack.unpackb(encode(RESULT, (LOGITS,))[0]), key)
    with pytest.raises(WireError, match=key):
        decode_reply([msgpack.packb(header), LOGITS.tobytes()])


@given(st.text(min_size=1, max_size=10), maps, st.integers(0, 2**63), finite)
def test_an_event_survives_the_trip(kind: str, body: dict[str, Any], seq: int, at: float) -> None:
    assert decode_event(on_the_wire(encode_event(kind, body, seq=seq, at=at))) == Event(kind, seq, at, body)


def test_an_event_is_found_by_its_topic() -> None:
    assert encode_event("plan", {}, seq=1, at=0.0)[0] == b"plan"


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"kind": 1}, {"body": []}, {"seq": "1"}, {"at": math.nan}], ids=lambda c: next(iter(c))
)
def test_a_bad_event_is_refused(change: dict[str, Any]) -> None:
    good = {"v": 1, "kind": "plan", "seq": 1, "at": 1.0, "body": {}}
    with pytest.raises(WireError):
        decode_event([b"plan", msgpack.packb({**good, **change})])
