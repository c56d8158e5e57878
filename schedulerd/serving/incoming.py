"""What one client of the local socket sends: packets, and memory that its frames lie in.

A frame in shared memory is not copied: blocks read it where the client wrote it. The mapping lives as long as anything
refers to it, also where the client is gone by then.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from schedulerd.serving.handlers import Frame
from schedulerd.wire.local import (
    ALIGNMENT,
    ATTACHED,
    MAX_PACKET_BYTES,
    MAX_RING_BYTES,
    MAX_RINGS,
    BadPacket,
    Kind,
    Packet,
    Place,
    copied_inline,
    slice_of,
    unpack,
)
from schedulerd.wire.memfd import UnfitDescriptor, map_sealed
from schedulerd.wire.messages import Code

_DESCRIPTOR: Final = struct.Struct("i")
# Plain integers: an operation on the library's flags takes a microsecond.
_CUT: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOSE_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_CONTROL_BYTES: Final = socket.CMSG_LEN(_DESCRIPTOR.size)
"""Room for one descriptor: the kernel closes those that find none, and says so."""


class Ended(Exception):
    """The client has closed the connection."""


class Unfit(Exception):
    """A ring or frames that cannot be had; the connection goes on."""

    def __init__(self, header: bytes, code: Code, message: str) -> None:
        super().__init__(message)
        self.header = header
        """Of the message whose frames they are; empty for a ring."""
        self.code = code


class Incoming:
    """The receiving side of a non-blocking socket, and the rings that came in through it. For one thread at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rings: dict[int, memoryview] = {}

    def receive(self, buffer: memoryview) -> Sequence[Frame] | None:
        """The frames of the next packet; None where there is no packet, or it brought a ring.

        `buffer` has room for a packet, and is free again afterwards. Raises `Ended`, `Unfit`, and `BadPacket`, after
        which nothing that follows can be trusted.
        """
        try:
            size, control, flags, _ = self._socket.recvmsg_into([buffer], _CONTROL_BYTES, _CLOSE_ON_EXEC)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Ended from error
        if not control and not flags & _CUT:
            return self._read(buffer[:size], None)
        descriptor = _only(control)
        try:
            if flags & _CUT:
                raise BadPacket(f"cut short; a packet has at most {MAX_PACKET_BYTES} bytes and one descriptor")
            return self._read(buffer[:size], descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _read(self, received: memoryview, descriptor: int | None) -> Sequence[Frame] | None:
        # A copy frees `buffer` for the next packet, and is aligned, as a tensor must be.
        inline = copied_inline(received)
        if inline is not None:
            return inline
        if not received:
            raise Ended
        packet = unpack(received)
        if packet.kind is Kind.RING:
            self._take_ring(packet.places, descriptor)
            return None
        return self._frames(packet, descriptor)

    def _take_ring(self, places: Sequence[Place], descriptor: int | None) -> None:
        place = places[0]
        if len(places) > 1 or not 1 <= place.where <= MAX_RINGS or place.length or place.offset:
            raise Unfit(
                b"",
                Code.BAD_VALUE,
                f"a ring has one place with its number, 1 to {MAX_RINGS}, and length and offset 0; this one has "
                f"{len(places)}, the first of which is {tuple(place)}",
            )
        self._rings[place.where] = _mapped(descriptor, b"", f"ring {place.where}")

    def _frames(self, packet: Packet, descriptor: int | None) -> list[Frame]:
        first = packet.inside[0]
        if first is None:
            raise BadPacket("the header lies in shared memory; it travels inside")
        header = bytes(first)
        memories: dict[int, memoryview] = self._rings
        if any(place.where == ATTACHED for place in packet.places):
            memories = {**memories, ATTACHED: _mapped(descriptor, header, "the packet")}
        frames: list[Frame] = [header]
        for place, inside in zip(packet.places[1:], packet.inside[1:], strict=True):
            frames.append(_shared(memories, place, header) if inside is None else bytes(inside))
        return frames


def _shared(memories: dict[int, memoryview], place: Place, header: bytes) -> Frame:
    memory = memories.get(place.where)
    if memory is None:
        known = ", ".join(map(str, sorted(memories))) or "none"
        raise Unfit(header, Code.BAD_VALUE, f"there is no ring {place.where}; rings: {known}. Hand it over first")
    try:
        frame = slice_of(memory, place)
    except ValueError as error:
        raise Unfit(header, Code.BAD_TENSOR, str(error)) from None
    return frame if place.offset % ALIGNMENT == 0 else bytes(frame)


def _mapped(descriptor: int | None, header: bytes, what: str) -> memoryview:
    if descriptor is None:
        raise Unfit(header, Code.BAD_VALUE, f"no descriptor came with {what}: send a sealed memfd along (SCM_RIGHTS)")
    try:
        return memoryview(map_sealed(descriptor, MAX_RING_BYTES))
    except UnfitDescriptor as error:
        raise Unfit(header, Code.BAD_VALUE, f"{what}: {error}") from None
    except OSError as error:
        raise Unfit(
            header, Code.OVERLOADED, f"{what} cannot be mapped: {error.strerror}; send it again later"
        ) from None


def _only(control: Sequence[tuple[int, int, bytes]]) -> int | None:
    """The descriptor that came along."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and len(data) == _DESCRIPTOR.size:
            return int(_DESCRIPTOR.unpack(data)[0])
    return None
