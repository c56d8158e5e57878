"""The daemon's end of the local socket for tests: it takes rings and messages as they come, and says where they lay."""

from __future__ import annotations

import array
import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from schedulerd.wire import memfd
from schedulerd.wire.envelope import Frame
from schedulerd.wire.local import (
    ATTACHED,
    MAX_PACKET_BYTES,
    MAX_RING_BYTES,
    Kind,
    Place,
    pack,
    pack_inline,
    slice_of,
    unpack,
)

Descriptors = Sequence[int]


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process may open no file, as when it has too many."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Listener:
    """A listening socket at `path`; closing it takes the file away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(str(path))
        self.socket.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, timeout_s: float) -> Connection:
        """The next connection."""
        self.socket.settimeout(timeout_s)
        accepted, _ = self.socket.accept()
        return Connection(accepted, timeout_s)

    def close(self) -> None:
        """Nobody can connect any more."""
        self._path.unlink(missing_ok=True)
        self.socket.close()


class Connection:
    """One client."""

    def __init__(self, accepted: socket.socket, timeout_s: float) -> None:
        accepted.settimeout(timeout_s)
        self.socket = accepted
        self.rings: dict[int, memoryview] = {}
        self.offers: list[int] = []
        """Numbers of the rings that were handed over, in order."""
        self.places: list[Place] = []
        """Where the last tensor of each message lay."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self) -> list[Frame]:
        """The frames of the next message, in the memory where they lie; none where the client has left."""
        while True:
            packet, descriptors = self._received()
            if not packet:
                return []
            kind, places, inside = unpack(packet)
            memory = memoryview(memfd.map_sealed(descriptors[0], MAX_RING_BYTES)) if descriptors else memoryview(b"")
            for descriptor in descriptors:
                os.close(descriptor)
            if kind is Kind.RING:
                self.rings[places[0].where] = memory
                self.offers.append(places[0].where)
                continue
            self.places.append(places[-1])
            memories = {**self.rings, ATTACHED: memory}
            return [
                slice_of(memories[place.where], place) if view is None else view
                for place, view in zip(places, inside, strict=True)
            ]

    def _received(self) -> tuple[bytes, Descriptors]:
        packet, control, _, _ = self.socket.recvmsg(MAX_PACKET_BYTES, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        return packet, array.array("i", b"".join(data for _, _, data in control))

    def send(self, frames: Sequence[Frame]) -> None:
        """A message inside its packet."""
        self.socket.sendmsg(pack_inline(frames))

    def send_attached(self, frames: Sequence[Frame]) -> None:
        """A message whose tensors lie in one memfd that comes along."""
        header, *tensors = frames
        descriptor = memfd.create(sum(map(len, tensors)))
        offset, places = 0, [Place(len(header))]
        for tensor in tensors:
            os.pwrite(descriptor, tensor, offset)
            places.append(Place(len(tensor), ATTACHED, offset))
            offset += len(tensor)
        socket.send_fds(self.socket, pack(places, [header]), [descriptor])
        os.close(descriptor)

    def close(self) -> None:
        """Leave, as a process does that ends."""
        self.socket.close()
