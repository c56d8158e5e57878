"""The frames of one message as one packet of the local socket (AF_UNIX, SOCK_SEQPACKET), and back.

A packet holds the same frames that travel over ZeroMQ. A frame lies in the packet itself, or in memory that both sides
share: a *ring* that the client handed over before, or the descriptor that comes with this very packet.
clients/PROTOCOL.md ("The local socket") is the same text for other languages.

    version u8 = 1 | kind u8 | frames u16 | frames x (length u32 | where u32 | offset u64) | the bytes of those inside

All little-endian. `where` is 0 for a frame inside the packet, 1 to `MAX_RINGS` for one in that ring, `ATTACHED` for one
in the descriptor that comes along; `offset` is 0 inside the packet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate
from typing import Final, NamedTuple

from schedulerd.wire.messages import MAX_TENSOR_BYTES

VERSION: Final = 1
MAX_PACKET_BYTES: Final = 128 * 1024
"""A packet is one datagram, which the socket's buffer must hold (208 KiB by default, net.core.wmem_default)."""
MAX_INLINE_BYTES: Final = 32 * 1024
"""Above this a tensor goes through shared memory: copying it in and out of the kernel costs more."""
MAX_RINGS: Final = 4
"""Of one connection."""
MAX_RING_BYTES: Final = 4 * MAX_TENSOR_BYTES
ATTACHED: Final = 2**32 - 1
MAX_FRAMES: Final = 64
"""Of one packet: more than any message has."""

_HEAD: Final = struct.Struct("<BBH")
_PLACE: Final = struct.Struct("<IIQ")


class Kind(IntEnum):
    """What a packet is."""

    MESSAGE = 0
    """Frames of a message."""
    RING = 1
    """A sealed memfd for ring `where`, which its one place names with length and offset 0; it replaces the one before.
    There is no answer, unless it is refused: then comes a `failure` with id 0."""


class Place(NamedTuple):
    """Where a frame lies."""

    length: int
    where: int = 0
    offset: int = 0


class Packet(NamedTuple):
    """What came: places, and for each that is inside the packet its bytes."""

    kind: Kind
    places: tuple[Place, ...]
    inside: tuple[memoryview | None, ...]
    """None for a frame that lies elsewhere."""


class BadPacket(ValueError):
    """Bytes that are no packet; what they mean cannot be guessed, so the connection ends."""


def pack(
    places: Sequence[Place], inside: Sequence[bytes | memoryview], kind: Kind = Kind.MESSAGE
) -> list[bytes | memoryview]:
    """The buffers of one packet, for `socket.sendmsg`; `inside` are the frames with `where` 0, in order."""
    head = b"".join((_HEAD.pack(VERSION, kind, len(places)), *(_PLACE.pack(*place) for place in places)))
    return [head, *inside]


def pack_inline(frames: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """The buffers of a message all of whose frames travel inside."""
    return pack([Place(len(frame)) for frame in frames], frames)


def unpack(packet: bytes | memoryview) -> Packet:
    """The places of a packet's frames, on its own memory. Raises `BadPacket`; whether the places exist is not known."""
    view = memoryview(packet)
    if len(view) < _HEAD.size:
        raise BadPacket(f"{len(view)} bytes; a packet has {_HEAD.size} at least")
    version, kind, count = _HEAD.unpack_from(view)
    if version != VERSION or kind not in (0, 1):
        raise BadPacket(f"version {version}, kind {kind}; this side speaks version {VERSION}, kinds 0 and 1")
    begin = _HEAD.size + count * _PLACE.size
    if not 0 < count <= MAX_FRAMES or len(view) < begin:
        raise BadPacket(f"{count} frames in {len(view)} bytes; a packet has 1 to {MAX_FRAMES}, each with its place")
    places = tuple(Place(*_PLACE.unpack_from(view, _HEAD.size + i * _PLACE.size)) for i in range(count))
    ends = [*accumulate((place.length if place.where == 0 else 0 for place in places), initial=begin)]
    if ends[-1] != len(view):
        raise BadPacket(f"frames come to {ends[-1]} bytes; the packet has {len(view)}")
    inside = tuple(
        view[start:end] if place.where == 0 else None for place, start, end in zip(places, ends, ends[1:], strict=False)
    )
    return Packet(Kind(kind), places, inside)


def slice_of(memory: memoryview, place: Place) -> memoryview:
    """The bytes of a frame in shared memory; `ValueError` with the limit where it is not wholly inside."""
    if place.offset + place.length > len(memory):
        raise ValueError(
            f"offset {place.offset} and length {place.length} end beyond the {len(memory)} bytes of that memory"
        )
    return memory[place.offset : place.offset + place.length]
