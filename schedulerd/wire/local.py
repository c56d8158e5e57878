"""The frames of one message as one packet of the local socket (AF_UNIX, SOCK_SEQPACKET), and back.

A packet holds the same frames that travel over ZeroMQ. A frame lies in the packet itself, or in memory that both sides
share: a *ring* that the client handed over before, or the descriptor that comes with this very packet.
clients/PROTOCOL.md ("The local socket") is the same text for other languages.

    version u8 = 1 | kind u8 | frames u16 | frames x (length u32 | where u32 | offset u64) | the bytes of those inside

All little-endian. `where` is 0 for a frame inside the packet, 1 to `MAX_RINGS` for one in that ring, `ATTACHED` for one
in the descriptor that comes along; `offset` is 0 inside the packet.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from enum import IntEnum
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
ALIGNMENT: Final = 64
"""Of frames in shared memory that are to be read where they are: a cache line, and more than any dtype needs. The
daemon copies one that begins elsewhere."""
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
    return [b"".join((_HEAD.pack(VERSION, kind, len(places)), *(_PLACE.pack(*place) for place in places))), *inside]


def pack_inline(frames: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """The buffers of a message all of whose frames travel inside. As `pack`, but it runs for every small request."""
    if len(frames) == 2:
        header, tensor = frames
        return [_TWO.pack(VERSION, 0, 2, len(header), 0, 0, len(tensor), 0, 0), header, tensor]
    places: list[int] = []
    for frame in frames:
        places += (len(frame), 0, 0)
    return [_inline(len(frames)).pack(VERSION, 0, len(frames), *places), *frames]


def size_of(lengths: Sequence[int]) -> int:
    """Bytes of a packet whose frames have these lengths inside it, 0 for one that lies elsewhere."""
    return _HEAD.size + len(lengths) * _PLACE.size + sum(lengths)


@functools.cache
def _inline(frames: int) -> struct.Struct:
    return struct.Struct("<BBH" + frames * "IIQ")


_TWO: Final = _inline(2)
"""A header and one tensor, as in nearly every packet."""


def unpack(packet: bytes | memoryview) -> Packet:
    """The places of a packet's frames, on its own memory. Raises `BadPacket`; whether the places exist is not known."""
    view = memoryview(packet)
    if len(view) < _HEAD.size:
        raise BadPacket(f"{len(view)} bytes; a packet has {_HEAD.size} at least")
    version, kind, count = _HEAD.unpack_from(view)
    if version != VERSION or kind > Kind.RING:
        raise BadPacket(f"version {version}, kind {kind}; this side speaks version {VERSION}, kinds 0 and 1")
    end = _HEAD.size + count * _PLACE.size
    if not 0 < count <= MAX_FRAMES or len(view) < end:
        raise BadPacket(f"{count} frames in {len(view)} bytes; a packet has 1 to {MAX_FRAMES}, each with its place")
    places = tuple(map(Place._make, _PLACE.iter_unpack(view[_HEAD.size : end])))
    inside: list[memoryview | None] = []
    for length, where, _ in places:
        if where:
            inside.append(None)
        else:
            inside.append(view[end : end + length])
            end += length
    if end != len(view):
        raise BadPacket(f"frames come to {end} bytes; the packet has {len(view)}")
    return Packet(Kind.RING if kind else Kind.MESSAGE, places, tuple(inside))


def copied_inline(packet: memoryview) -> list[bytes] | None:
    """The frames of a message all of whose frames are inside, copied; None for any other packet, and for none at all.

    What `unpack` says of most packets, in a third of the time.
    """
    if len(packet) >= _TWO.size:
        version, kind, count, header, lies, _, tensor, also, _ = _TWO.unpack_from(packet)
        start = _TWO.size + header
        if version == VERSION and count == 2 and not (kind or lies or also) and start + tensor == len(packet):
            return [bytes(packet[_TWO.size : start]), bytes(packet[start:])]
    if len(packet) < _HEAD.size:
        return None
    version, kind, count = _HEAD.unpack_from(packet)
    end = _HEAD.size + count * _PLACE.size
    if version != VERSION or kind or not 0 < count <= MAX_FRAMES or len(packet) < end:
        return None
    frames = []
    for length, where, _ in _PLACE.iter_unpack(packet[_HEAD.size : end]):
        if where:
            return None
        frames.append(bytes(packet[end : end + length]))
        end += length
    return frames if end == len(packet) else None


def slice_of(memory: memoryview, place: Place) -> memoryview:
    """The bytes of a frame in shared memory; `ValueError` with the limit where it is not wholly inside."""
    if place.offset + place.length > len(memory):
        raise ValueError(
            f"offset {place.offset} and length {place.length} end beyond the {len(memory)} bytes of that memory"
        )
    return memory[place.offset : place.offset + place.length]
