"""Packets of the local socket: what one side packs the other finds, and anything else is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.wire.local import (
    ATTACHED,
    MAX_FRAMES,
    BadPacket,
    Kind,
    Place,
    copied_inline,
    pack,
    pack_inline,
    size_of,
    slice_of,
    unpack,
)

FRAMES = st.lists(st.binary(max_size=50), min_size=1, max_size=MAX_FRAMES)
ELSEWHERE = st.builds(Place, st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1))


def joined(buffers: list[bytes | memoryview]) -> bytes:
    return b"".join(buffers)


@given(FRAMES)
def test_frames_inside_come_out_as_they_went_in(frames: list[bytes]) -> None:
    packet = joined(pack_inline(frames))
    kind, places, inside = unpack(packet)
    assert kind is Kind.MESSAGE
    assert places == tuple(Place(len(frame)) for frame in frames)
    assert [bytes(frame) for frame in inside if frame is not None] == frames
    assert copied_inline(memoryview(packet)) == frames
    assert size_of([len(frame) for frame in frames]) == len(packet)
    assert packet == joined(pack(places, frames))


@given(st.lists(st.one_of(st.binary(max_size=50), ELSEWHERE), min_size=1, max_size=MAX_FRAMES), st.sampled_from(Kind))
def test_places_elsewhere_come_out_as_they_went_in(mixed: list[bytes | Place], kind: Kind) -> None:
    places = [Place(len(frame)) if isinstance(frame, bytes) else frame for frame in mixed]
    packet = joined(pack(places, [frame for frame in mixed if isinstance(frame, bytes)], kind))
    assert unpack(packet) == (
        kind,
        tuple(places),
        tuple(frame if isinstance(frame, bytes) else None for frame in mixed),
    )
    if kind is Kind.RING or any(place.where for place in places):
        assert copied_inline(memoryview(packet)) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_refused_and_the_quick_way_agrees(packet: bytes) -> None:
    try:
        kind, places, inside = unpack(packet)
    except BadPacket:
        assert copied_inline(memoryview(packet)) is None
        return
    plain = kind is Kind.MESSAGE and not any(place.where for place in places)
    assert copied_inline(memoryview(packet)) == ([bytes(i) for i in inside if i is not None] if plain else None)


GOOD = joined(pack_inline([b"header", b"tensor"]))


@pytest.mark.parametrize(
    ("packet", "complaint"),
    [
        (b"", "0 bytes; a packet has 4 at least"),
        (GOOD[:3], "3 bytes; a packet has 4 at least"),
        (b"\2" + GOOD[1:], "version 2, kind 0"),
        (b"\1\2" + GOOD[2:], "version 1, kind 2"),
        (struct.pack("<BBH", 1, 0, 0), "0 frames in 4 bytes"),
        (struct.pack("<BBH", 1, 0, MAX_FRAMES + 1) + bytes(16 * (MAX_FRAMES + 1)), f"{MAX_FRAMES + 1} frames in"),
        (GOOD[:30], "2 frames in 30 bytes"),
        (GOOD[:-1], "frames come to 48 bytes; the packet has 47"),
        (GOOD + b"x", "frames come to 48 bytes; the packet has 49"),
    ],
)
def test_what_is_no_packet_is_refused_with_the_reason(packet: bytes, complaint: str) -> None:
    with pytest.raises(BadPacket, match=complaint):
        unpack(packet)
    assert copied_inline(memoryview(packet)) is None


def test_a_ring_is_one_place() -> None:
    kind, places, _ = unpack(joined(pack([Place(0, 3)], [], Kind.RING)))
    assert (kind, places) == (Kind.RING, (Place(0, 3),))


@pytest.mark.parametrize(("offset", "length"), [(0, 100), (64, 36), (100, 0)])
def test_a_slice_is_the_memory_itself(offset: int, length: int) -> None:
    memory = bytearray(range(100))
    found = slice_of(memoryview(memory), Place(length, ATTACHED, offset))
    assert found == memory[offset : offset + length]
    assert found.obj is memory


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (64, 37), (101, 0), (2**64 - 1, 1)])
def test_a_slice_that_ends_beyond_the_memory_is_refused_with_the_limit(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"offset {offset} and length {length} end beyond the 100 bytes"):
        slice_of(memoryview(bytes(100)), Place(length, 1, offset))
