"""What one client of the local socket is sent. A reply leaves on the thread that made it, in one system call.

What the kernel has no room for is kept, up to a bound, and leaves when the client has read. A large reply travels in
sealed memory that comes along with its packet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import termios
import threading
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from select import EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from typing import Final, NamedTuple

import structlog

from schedulerd.serving.counters import Tally
from schedulerd.serving.handlers import Frame
from schedulerd.wire import memfd
from schedulerd.wire.codec import encode
from schedulerd.wire.headers import id_of
from schedulerd.wire.local import (
    ALIGNMENT,
    ATTACHED,
    MAX_INLINE_BYTES,
    MAX_PACKET_BYTES,
    Place,
    pack,
    pack_inline,
    size_of,
)
from schedulerd.wire.messages import MAX_TENSOR_BYTES, Code, Failure

log = structlog.get_logger(__name__)

BACKLOG: Final = 64
"""Replies kept for a client that does not read, beyond those that the kernel keeps; more are dropped and counted."""
UNREAD_BYTES: Final = MAX_TENSOR_BYTES
"""What the replies kept for one client may come to, and those in attached memory that it has not read. Of either there
may be one of any size."""
LEAST_OVERHEAD_BYTES: Final = 256
"""What the kernel counts for a packet besides its bytes, at least; on 64 bits it is 600 and more."""
READING: Final = EPOLLIN | EPOLLRDHUP
_INT: Final = struct.Struct("i")


class _Attached(NamedTuple):
    """A reply that was sent with memory."""

    packet_bytes: int
    memory_bytes: int


class Outgoing:
    """The sending side of a non-blocking socket, for every thread. Only the holder of the baton flushes and closes."""

    def __init__(self, connected: socket.socket, watcher: epoll, tally: Tally) -> None:
        """Has `watcher` look at the socket: whether it can be read, and written where something is kept."""
        # Twice that is granted (socket(7)), so that a packet fits whatever the default of this machine is.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET_BYTES)
        self._socket = connected
        self._watcher = watcher
        self._tally = tally
        self._lock = threading.Lock()
        """Sends of two threads, and a send against closing: the descriptor may be another file's afterwards."""
        self._closed = False
        self._kept: deque[list[bytes]] = deque()
        self._kept_bytes = 0
        self._attached: deque[_Attached] = deque()
        """Replies with attached memory that the client may not have read yet, the oldest first."""
        self._told = False
        """That replies are dropped; again after the client has read."""
        watcher.register(connected.fileno(), READING)

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send a message, or keep it until the client reads; False where it is dropped or the client gone."""
        with self._lock:
            if self._closed:
                return False
            if self._kept:
                return self._keep(frames)
            sent = self._put(frames)
            return self._keep(frames) if sent is None else sent

    def flush(self) -> None:
        """The kernel has room again: send what is kept."""
        with self._lock:
            while self._kept and self._put(self._kept[0]) is not None:
                self._kept_bytes -= sum(map(len, self._kept.popleft()))
            if not self._kept:
                self._told = False
                self._watcher.modify(self._socket.fileno(), READING)

    def close(self) -> None:
        """Close the socket; what is kept is forgotten."""
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._watcher.unregister(self._socket.fileno())
            self._socket.close()

    def _put(self, frames: Sequence[Frame]) -> bool | None:
        """Whether a message was sent; None where the kernel has no room for it now."""
        lengths = [len(frame) for frame in frames]
        if max(lengths) <= MAX_INLINE_BYTES and size_of(lengths) <= MAX_PACKET_BYTES:
            return self._sent(pack_inline(frames), [])
        places, total = _placed(lengths)
        if not self._may_attach(total):
            return self._refuse(frames[0], "memory that it was sent waits to be read", total)
        try:
            descriptor = memfd.create(total, "schedulerd-reply")
        except OSError as error:
            return self._refuse(frames[0], f"no memory for it: {error.strerror}", total)
        try:
            return self._sent_attached(frames, places, descriptor, total)
        finally:
            os.close(descriptor)

    def _sent_attached(
        self, frames: Sequence[Frame], places: Sequence[Place], descriptor: int, total: int
    ) -> bool | None:
        inside = []
        for frame, place in zip(frames, places, strict=True):
            if place.where != ATTACHED:
                inside.append(frame)
            elif reason := not_written(descriptor, frame, place.offset):
                return self._refuse(frames[0], f"no memory for it: {reason}", total)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _INT.pack(descriptor))]
        buffers = pack(places, inside)
        sent = self._sent(buffers, control)
        if sent:
            self._attached.append(_Attached(sum(map(len, buffers)), total))
        return sent

    def _may_attach(self, size_bytes: int) -> bool:
        """Memory on its way counts as nobody's: a client that does not read must not get ever more of it."""
        self._forget_read()
        unread_bytes = sum(attached.memory_bytes for attached in self._attached)
        return not unread_bytes or unread_bytes + size_bytes <= UNREAD_BYTES

    def _forget_read(self) -> None:
        """Packets are read in order, so what the kernel still has are the newest, and no more than fit into that."""
        left_bytes, unread = _unread_bytes(self._socket), 0
        for attached in reversed(self._attached):
            if left_bytes <= 0:
                break
            left_bytes -= attached.packet_bytes + LEAST_OVERHEAD_BYTES
            unread += 1
        while len(self._attached) > unread:
            self._attached.popleft()

    def _sent(self, buffers: Sequence[Frame], control: Sequence[tuple[int, int, bytes]]) -> bool | None:
        try:
            self._socket.sendmsg(buffers, control, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return None
        except ConnectionError:
            # Only the holder of the baton closes: now its next look finds that the connection has ended.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            return False
        except OSError as error:
            return self._drop(f"it cannot be sent: {error.strerror}", sum(map(len, buffers)))
        return True

    def _keep(self, frames: Sequence[Frame]) -> bool:
        size_bytes = sum(map(len, frames))
        if self._kept and (len(self._kept) >= BACKLOG or self._kept_bytes + size_bytes > UNREAD_BYTES):
            return self._drop(f"client does not read, {len(self._kept)} are kept for it", size_bytes)
        if not self._kept:
            self._watcher.modify(self._socket.fileno(), READING | EPOLLOUT)
        # Copies: the engine may want its memory back once it has replied.
        self._kept.append([bytes(frame) for frame in frames])
        self._kept_bytes += size_bytes
        return True

    def _refuse(self, header: Frame, reason: str, size_bytes: int) -> bool:
        """Drop a reply and say so, which takes no memory: else its client would wait until its time is up."""
        message_id = id_of(bytes(header))
        if message_id is not None:
            text = f"the reply of {size_bytes} bytes was dropped, {reason}; read what came, and ask again"
            failure = encode(Failure(message_id, Code.OVERLOADED, text))
            if self._sent(pack_inline(failure), []) is None:
                self._keep(failure)
        return self._drop(reason, size_bytes)

    def _drop(self, reason: str, size_bytes: int) -> bool:
        """Always False, for what is dropped was not sent."""
        self._tally.add("replies")
        if not self._told:
            log.warning("replies_dropped", reason=reason, size_bytes=size_bytes)
        self._told = True
        return False


def _placed(lengths: Sequence[int]) -> tuple[list[Place], int]:
    """Where the frames of a large message lie, and what those in attached memory come to.

    The large ones are attached; all of them where the others alone are more than a packet.
    """
    attached = [length > MAX_INLINE_BYTES for length in lengths]
    if size_of([0 if a else length for length, a in zip(lengths, attached, strict=True)]) > MAX_PACKET_BYTES:
        attached = [True] * len(lengths)
    rooms = [length + -length % ALIGNMENT if a else 0 for length, a in zip(lengths, attached, strict=True)]
    *offsets, total = accumulate(rooms, initial=0)
    return [
        Place(length, ATTACHED, offset) if a else Place(length)
        for length, a, offset in zip(lengths, attached, offsets, strict=True)
    ], total


def not_written(descriptor: int, frame: Frame, offset: int) -> str | None:
    """Why a frame is not in memory, or not all of it; None where it is. Pages are only got as they are written to."""
    try:
        written = os.pwrite(descriptor, frame, offset)
    except OSError as error:
        return error.strerror
    return None if written == len(frame) else f"{written} of {len(frame)} bytes were written"


def _unread_bytes(connected: socket.socket) -> int:
    """What packets take in the kernel that the other side has not received yet (SIOCOUTQ, unix(7))."""
    return int(_INT.unpack(fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(_INT.size)))[0])
