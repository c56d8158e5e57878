"""One connection over the local socket: messages out in their order, messages in, and the memory that goes with both.

What the socket does not take now is kept, and sent when it does.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgpack

from schedulerd.wire import memfd
from schedulerd.wire.envelope import Frame
from schedulerd.wire.headers import id_of
from schedulerd.wire.local import (
    ALIGNMENT,
    ATTACHED,
    MAX_INLINE_BYTES,
    MAX_PACKET_BYTES,
    Kind,
    Place,
    copied_inline,
    pack,
    pack_inline,
    size_of,
    unpack,
)
from schedulerd.wire.messages import MAX_TENSOR_BYTES
from schedulerd_client._errors import Overloaded, TransportError
from schedulerd_client._memory import Ring, Rings
from schedulerd_client._transport import Incoming, Silence

MAX_KEPT: Final = 1024
"""Messages for a daemon that does not read."""
_DESCRIPTOR: Final = struct.Struct("i")
_CONTROL_BYTES: Final = socket.CMSG_SPACE(_DESCRIPTOR.size)
# Plain integers: the library's flags take longer.
_SENDING: Final = int(socket.MSG_NOSIGNAL)
_RECEIVING: Final = int(socket.MSG_CMSG_CLOEXEC)


class _Packet(NamedTuple):
    buffers: Sequence[Frame]
    descriptor: int | None = None
    """To come along."""
    passing: bool = False
    """The descriptor is ours only until it is sent."""

    def dispose(self) -> None:
        if self.passing and self.descriptor is not None:
            os.close(self.descriptor)


class Link:
    """A connected socket that does not block; `rings` is the client's memory, from now on this connection's."""

    def __init__(self, connected: socket.socket, rings: Rings) -> None:
        self.descriptor = connected.fileno()
        self.blocked = False
        """Messages are kept until the socket takes them."""
        self.served = False
        """An answer has come."""
        self.lost = False
        """It has ended, and everything that arrived before has been handed out."""
        self._socket = connected
        self._rings = rings
        self._rings.begin()
        self._may_offer = True
        """No ring was refused."""
        self._kept: deque[Sequence[Frame]] = deque()
        self._packets: deque[_Packet] = deque()
        """What is left of the message that is being sent."""
        self._view = memoryview(bytearray(MAX_PACKET_BYTES))
        self._poller = select.poll()
        self._poller.register(self.descriptor, select.POLLIN)

    # Out.

    def send(self, frames: Sequence[Frame]) -> None:
        """Send a message, or keep it.

        Raises `Overloaded` where too many are kept, `TransportError` where there is no memory for a frame.
        """
        if self.blocked:
            if len(self._kept) >= MAX_KEPT:
                raise Overloaded(
                    f"{MAX_KEPT} messages wait for a daemon that does not read; send slower, or restart it"
                )
            self._kept.append(frames)
        elif sum(map(len, frames)) > MAX_INLINE_BYTES or not self._put(pack_inline(frames)):
            self._kept.append(frames)
            self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as the socket takes it. Raises `TransportError` as `send`."""
        while self._packets or self._kept:
            if not self._packets:
                self._packets.extend(self._packed(self._kept.popleft()))
            packet = self._packets[0]
            if not self._put(packet.buffers, packet.descriptor):
                self._heed_room(True)
                return
            self._packets.popleft().dispose()
        self._heed_room(False)

    def _put(self, buffers: Sequence[Frame], descriptor: int | None = None) -> bool:
        """False where the socket has no room. What is sent to a daemon that is gone is gone with it."""
        control = () if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(descriptor))]
        try:
            self._socket.sendmsg(buffers, control, _SENDING)
        except BlockingIOError:
            return False
        except ConnectionError:
            # Reading says so too, once everything that came before has been read.
            pass
        except OSError as error:
            # What the next messages rely on may be missing now.
            self.lost = True
            raise TransportError(f"the daemon's socket does not take this: {error.strerror}; ask again") from error
        return True

    def _heed_room(self, blocked: bool) -> None:
        if blocked is not self.blocked:
            self.blocked = blocked
            self._poller.modify(self.descriptor, select.POLLIN | select.POLLOUT if blocked else select.POLLIN)

    def _packed(self, frames: Sequence[Frame]) -> list[_Packet]:
        """The packets of a message: each ring that it uses first, then the message itself."""
        try:
            return self._shared(frames)
        except OSError as error:
            self._rings.answered(_header(frames).get("id", 0))
            problem = f"no shared memory for a message of {sum(map(len, frames))} bytes: {error.strerror}"
            raise TransportError(f"{problem}; close clients, or raise the limits on memory and open files") from error

    def _shared(self, frames: Sequence[Frame]) -> list[_Packet]:
        header, *tensors = frames
        message_id = _header(frames).get("id", 0)
        places = [Place(len(header))]
        inside = [header]
        attached: list[Frame] = []
        rings: list[Ring] = []
        room_bytes = MAX_PACKET_BYTES - size_of([len(header), *(0 for _ in tensors)])
        attached_bytes = 0
        for tensor in tensors:
            size_bytes = len(tensor)
            if size_bytes <= min(MAX_INLINE_BYTES, room_bytes):
                places.append(Place(size_bytes))
                inside.append(tensor)
                room_bytes -= size_bytes
            elif self._may_offer and (found := self._rings.place(message_id, tensor)):
                rings.append(found[0])
                places.append(found[1])
            else:
                places.append(Place(size_bytes, ATTACHED, attached_bytes))
                attached.append(tensor)
                attached_bytes += size_bytes + -size_bytes % ALIGNMENT
        message = _Packet(pack(places, inside), _memory_of(attached) if attached else None, passing=True)
        return [*(_offer(ring) for ring in dict.fromkeys(rings) if not ring.offered), message]

    # In.

    def wait(self, timeout_ms: int) -> bool:
        """Whether there is something to `take`, after that time at most."""
        if self.lost:
            return True
        ready = self._poller.poll(timeout_ms)
        if self.blocked and ready and ready[0][1] & select.POLLOUT:
            self.flush()
        return bool(ready)

    def receive(self, timeout_s: float) -> Incoming | None:
        """What `take` gives as soon as something stirs, TIMED_OUT where nothing did in all that time.

        Receiving does not wait itself (SO_RCVTIMEO), which were a system call less: after each signal that the process
        handles, the interpreter would begin that wait anew.
        """
        return self.take() if self.wait(max(0, math.ceil(timeout_s * 1e3))) else Silence.TIMED_OUT

    def take(self) -> Incoming | None:
        """A message that has arrived, LOST after the last one of all; None where there is nothing now."""
        if self.lost:
            return Silence.LOST
        try:
            size, control, _, _ = self._socket.recvmsg_into((self._view,), _CONTROL_BYTES, _RECEIVING)
        except (BlockingIOError, ConnectionResetError):
            # Reset: the daemon left something of ours unread. What it had sent before comes all the same.
            return None
        descriptors = _descriptors(control) if control else ()
        try:
            # Most packets; what it does not know is told apart below, where errors are worded too.
            frames = copied_inline(self._view[:size]) or self._frames(self._view[:size], descriptors)
        except (ValueError, OverflowError, OSError):
            # The end, or a packet that makes no sense or names memory that cannot be had: what follows makes none.
            self.lost = True
            return Silence.LOST
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if not self.served:
            self.served = _header(frames).get("id", 0) != 0
        if self._rings.awaited:
            self._heed_answer(frames)
        return frames

    def is_lost(self) -> bool:
        """Whether the connection has ended; something may still be there to take."""
        return self.lost or any(events & (select.POLLHUP | select.POLLERR) for _, events in self._poller.poll(0))

    def _frames(self, packet: memoryview, descriptors: Sequence[int]) -> list[Frame]:
        """The frames of a packet, each a copy of its own: aligned, and for reading only.

        They are not mapped, because a mapping keeps its descriptor, and of outputs a user may keep any number.
        ValueError where it is no packet of a daemon, OSError where its descriptor cannot be read.
        """
        kind, places, inside = unpack(packet)
        if kind is not Kind.MESSAGE:
            raise ValueError("a ring; only a client offers them")
        return [
            _read(descriptors, place) if view is None else bytes(view)
            for place, view in zip(places, inside, strict=True)
        ]

    def _heed_answer(self, frames: Sequence[Frame]) -> None:
        """Have the memory of an answered request back."""
        answered = id_of(frames[0]) if type(frames[0]) is bytes else None
        if answered is not None:
            self._rings.answered(answered)
            return
        header = _header(frames)
        if header.get("op") == "unregistered":
            # Frames that waited are not answered.
            self._rings.all_answered()
        elif header.get("id") == 0 and header.get("op") == "failure":
            self._may_offer = False
        else:
            self._rings.answered(header.get("id", 0))

    def close(self) -> None:
        """End the connection; what is kept is gone."""
        for packet in self._packets:
            packet.dispose()
        self._packets.clear()
        self._kept.clear()
        self._socket.close()


def _offer(ring: Ring) -> _Packet:
    ring.offered = True
    return _Packet(pack([Place(0, ring.number)], (), Kind.RING), ring.descriptor)


def _memory_of(frames: Sequence[Frame]) -> int:
    """Frames, one after the other, in sealed memory of their own."""
    *offsets, size_bytes = accumulate((len(frame) + -len(frame) % ALIGNMENT for frame in frames), initial=0)
    descriptor = memfd.create(size_bytes, "schedulerd-frame")
    try:
        with memfd.map_writable(descriptor) as memory:
            for frame, offset in zip(frames, offsets, strict=True):
                memory[offset : offset + len(frame)] = frame
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(descriptors: Sequence[int], place: Place) -> bytes:
    """A frame in the descriptor that came along."""
    if place.where != ATTACHED or len(descriptors) != 1 or place.length > MAX_TENSOR_BYTES:
        raise ValueError(
            f"{place} with {len(descriptors)} descriptors; a frame lies inside or in the one that came along"
        )
    frame = os.pread(descriptors[0], place.length, place.offset)
    if len(frame) < place.length:
        raise ValueError(f"{place} ends beyond its memory")
    return frame


def _descriptors(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """What came along; they are ours to close."""
    return [
        descriptor
        for level, kind, data in control
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for (descriptor,) in _DESCRIPTOR.iter_unpack(data[: len(data) // _DESCRIPTOR.size * _DESCRIPTOR.size])
    ]


def _header(frames: Sequence[Frame]) -> dict[str, Any]:
    """The header of a message; empty where it has none that can be read."""
    with contextlib.suppress(ValueError):
        header = msgpack.unpackb(frames[0])
        if isinstance(header, dict):
            return header
    return {}
