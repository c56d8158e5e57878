"""Headers that are read where they stand say what msgpack and all checks say, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.wire import headers
from schedulerd.wire.codec import decode_reply, decode_request, encode
from schedulerd.wire.envelope import WireError
from schedulerd.wire.headers import id_of, infer_header, read_infer, read_result, result_header
from schedulerd.wire.messages import DTYPES, MAX_TENSOR_BYTES, Infer, Result, TensorHeader

IDS = st.integers(1, 2**64 - 1)
SHAPES = st.lists(st.integers(1, 9), max_size=4).map(tuple)
TENSORS = st.lists(st.builds(TensorHeader, st.sampled_from(sorted(DTYPES)), SHAPES), min_size=1, max_size=3).map(tuple)
FINITE = st.floats(-1e300, 1e300)
NAMES = st.text(max_size=12)
RESULTS = st.builds(
    Result,
    id=IDS,
    tensors=TENSORS,
    plan=st.integers(0, 2**40),
    route=st.lists(NAMES, max_size=5).map(tuple),
    accuracy=FINITE,
    queue_ms=FINITE,
    run_ms=FINITE,
    budget_ms=FINITE,
    deadline_met=st.booleans(),
    exit=NAMES,
    left=NAMES,
    confidence=st.none() | FINITE,
    exits=st.just(()),
)


def frames_of(tensors: tuple[TensorHeader, ...]) -> list[bytes]:
    return [bytes(t.size_bytes) for t in tensors]


def slowly(header: bytes) -> bytes:
    """The same map with its keys the other way round, as another client may write it."""
    return bytes(msgpack.packb(dict(reversed(msgpack.unpackb(header).items()))))


@given(IDS, TENSORS)
def test_a_frame_is_read_as_msgpack_reads_it(message_id: int, tensors: tuple[TensorHeader, ...]) -> None:
    header = infer_header(message_id, tensors)
    assert msgpack.unpackb(header) == {
        "v": 1,
        "op": "infer",
        "id": message_id,
        "tensors": [{"dtype": t.dtype, "shape": [*t.shape]} for t in tensors],
    }
    known = read_infer(header)
    assert known is not None
    assert (known[0], known[1].tensors) == (message_id, tensors)
    assert known[1].sizes_bytes == tuple(t.size_bytes for t in tensors)


@pytest.mark.parametrize("bits", [7, 8, 16, 32, 64])
@pytest.mark.parametrize("beyond", [0, 1])
def test_ids_are_in_the_shortest_form(bits: int, beyond: int) -> None:
    """A decoder may tell integers by their form: to some, 64 bits are of another type than the id that was sent."""
    message_id = min(2**bits - 1 + beyond, 2**64 - 1)
    tensor = {"dtype": "uint8", "shape": [2]}
    plain = {"v": 1, "op": "infer", "id": message_id, "tensors": [tensor]}
    assert infer_header(message_id, (TensorHeader("uint8", (2,)),)) == msgpack.packb(plain)
    answer = Result(message_id, (TensorHeader("uint8", (2,)),), 1, ("a",), 0.5, 1.0, 1.0, 5.0, True)
    header = result_header(answer)
    assert header == msgpack.packb(msgpack.unpackb(header))


@given(RESULTS, st.lists(NAMES, max_size=3).map(tuple))
def test_an_answer_is_read_as_msgpack_reads_it(result: Result, exits: tuple[str, ...]) -> None:
    if exits:
        result = result._replace(exits=exits, tensors=result.tensors[:1] * len(exits))
    header = result_header(result)
    frames = frames_of(result.tensors)
    known = read_result(header)
    assert known is not None
    assert known.result() == result == decode_reply([slowly(header), *frames])[0]
    assert id_of(header) == result.id


@given(st.binary(max_size=80))
def test_bytes_that_are_none_are_none(some: bytes) -> None:
    assert (read_infer(some), read_result(some), id_of(some)) == (None, None, None)


@given(IDS, st.integers(0, 90), st.binary(min_size=1, max_size=3))
def test_a_frame_that_was_spoilt_is_read_as_msgpack_reads_it(message_id: int, at: int, by: bytes) -> None:
    good = infer_header(message_id, (TensorHeader("uint8", (2, 3)),))
    same_in_both_ways(good[:at] + by + good[at + len(by) :], decode_request)


@given(RESULTS, st.integers(0, 250), st.binary(min_size=1, max_size=3))
def test_an_answer_that_was_spoilt_is_read_as_msgpack_reads_it(result: Result, at: int, by: bytes) -> None:
    good = result_header(result._replace(tensors=(TensorHeader("uint8", (2, 3)),)))
    same_in_both_ways(good[:at] + by + good[at + len(by) :], decode_reply)


def same_in_both_ways(header: bytes, decode: Any) -> None:
    """Whether the header is known or not, what comes of it is what its map means."""
    try:
        told = msgpack.unpackb(header)
    except ValueError:
        with pytest.raises(WireError):
            decode([header, bytes(6)])
        return
    if not isinstance(told, dict):
        return
    if len(told) < header[0] & 0xF:
        # A key came twice, and the last one counts.
        assert (read_infer(header), read_result(header)) == (None, None)
    other = bytes(msgpack.packb(dict(reversed(told.items()))))
    assert outcome(decode, header) == outcome(decode, other)


def outcome(decode: Any, header: bytes) -> Any:
    try:
        return decode([header, bytes(6)])[0]
    except WireError as error:
        return error.code, error.id


def test_numbers_that_are_none_are_left_to_the_codec() -> None:
    result = Result(1, (TensorHeader("uint8", (2,)),), 1, ("a",), 0.5, float("nan"), 1.0, 10.0, True)
    assert read_result(result_header(result)) is None
    with pytest.raises(WireError, match="finite"):
        decode_reply([result_header(result), b"xx"])


def test_a_tail_that_comes_again_is_not_read_again() -> None:
    tensors = (TensorHeader("float64", (7, 5, 3)),)
    read_infer(infer_header(1, tensors))
    hits = headers._infer_tensors.cache_info().hits
    first, second = read_infer(infer_header(2, tensors)), read_infer(infer_header(2**40, tensors))
    assert first is not None
    assert second is not None
    assert first[1] is second[1]
    assert headers._infer_tensors.cache_info().hits == hits + 2


def test_what_a_peer_makes_up_does_not_fill_the_memory() -> None:
    kept = headers._infer_tensors.cache_info().currsize
    long = bytes(msgpack.packb({"v": 1, "op": "infer", "id": 1, "tensors": [{"dtype": "u" * 2000, "shape": []}]}))
    assert read_infer(long) is None
    assert headers._infer_tensors.cache_info().currsize == kept
    assert (headers._infer_tensors.cache_info().maxsize or 0) * headers.MOST_BYTES <= 2**20


def test_a_tensor_over_the_limit_is_refused_with_the_limit() -> None:
    header = infer_header(1, (TensorHeader("float64", (MAX_TENSOR_BYTES,)),))
    assert read_infer(header) is None
    with pytest.raises(WireError, match="limit"):
        decode_request([header, b""])


def test_frames_that_do_not_fit_are_refused_with_the_id() -> None:
    array = np.zeros((2, 3), np.uint8)
    frames = encode(Infer(7, (TensorHeader("uint8", (2, 3)),)), (array,))
    for wrong in ([frames[0]], [*frames, b"x"], [frames[0], b"x"]):
        with pytest.raises(WireError) as refused:
            decode_request(wrong)
        assert refused.value.id == 7
