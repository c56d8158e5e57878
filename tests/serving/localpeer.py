"""A bare client of the local socket: sends what it is told, whatever it is."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schedulerd.wire import memfd
from schedulerd.wire.codec import decode_reply, encode
from schedulerd.wire.local import ATTACHED, MAX_PACKET_BYTES, Kind, Place, pack, pack_inline, slice_of, unpack
from schedulerd.wire.messages import Infer, Ping, Register, TensorHeader
from tests.serving.parts import FRAME

TIMEOUT_S = 10.0
INFER = TensorHeader("uint8", FRAME.shape)
ZEROS = np.zeros(FRAME.shape, np.uint8)


class Ring(NamedTuple):
    """Sealed memory, and its descriptor."""

    descriptor: int
    memory: mmap.mmap


def ring_of(size_bytes: int = 4096) -> Ring:
    descriptor = memfd.create(size_bytes)
    return Ring(descriptor, memfd.map_writable(descriptor))


def unsealed(size_bytes: int = 4096, seals: int = 0, flags: int = 0) -> int:
    """A memfd without the seals that it should have."""
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class LocalPeer:
    """One connection. Every wait fails after `TIMEOUT_S`."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.socket.settimeout(TIMEOUT_S)

    def raw(self, packet: bytes, *descriptors: int) -> None:
        """Any bytes as one packet."""
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
        self.socket.sendmsg([packet], control if descriptors else [])

    def send(self, message: Any, *arrays: Any) -> None:
        """A message all of which is inside its packet."""
        self.socket.sendmsg(pack_inline(encode(message, arrays)))

    def hand_over(self, descriptor: int, number: int = 1) -> None:
        """A ring."""
        self.raw(b"".join(pack([Place(0, number)], [], Kind.RING)), descriptor)

    def infer(self, message_id: int = 2, place: Place | None = None, *descriptors: int) -> None:
        """A frame of zeros inside its packet, or one that lies in `place`."""
        if place is None:
            self.send(Infer(message_id, (INFER,)), ZEROS)
            return
        header = encode(Infer(message_id, (INFER,)), ())[0]
        self.raw(b"".join(pack([Place(len(header)), place], [header])), *descriptors)

    def register(self, app: str | None = None) -> None:
        self.send(Register(1, "m", 50.0, 10.0, app=app))

    def receive(self) -> tuple[Any, list[memoryview]]:
        """The next message with its tensors; pings are passed over. EOFError at the end of the connection."""
        reply: Any = Ping(0)
        while isinstance(reply, Ping):
            packet, control, _, _ = self.socket.recvmsg(MAX_PACKET_BYTES, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC)
            if not packet:
                raise EOFError
            reply, tensors = decode_reply(frames_of(packet, control))
        return reply, tensors

    def answer(self) -> Any:
        """The next message."""
        return self.receive()[0]

    def ended(self) -> bool:
        """Waits for the end of the connection, whatever comes before it."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self.answer()
        return True

    def close(self) -> None:
        self.socket.close()


def frames_of(packet: bytes, control: Sequence[tuple[int, int, bytes]]) -> list[bytes | memoryview]:
    """The frames of a message from the daemon, in its packet or in the memory that came along."""
    _, places, inside = unpack(packet)
    attached = memoryview(b"")
    for _, _, data in control:
        (descriptor,) = struct.unpack("i", data)
        attached = memoryview(memfd.map_sealed(descriptor, 2**30))
        os.close(descriptor)
    assert all(place.where in {0, ATTACHED} for place in places)
    return [slice_of(attached, p) if i is None else i for p, i in zip(places, inside, strict=True)]
