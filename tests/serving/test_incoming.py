"""What a local client sends: frames are views of its memory where they can be, and outlive ring and connection."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from mmap import mmap

import pytest

from schedulerd.serving.incoming import Ended, Incoming, Unfit
from schedulerd.wire.local import ALIGNMENT, ATTACHED, MAX_PACKET_BYTES, BadPacket, Kind, Place, pack, pack_inline
from tests.serving.localpeer import ring_of, unsealed


class Line:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.incoming = Incoming(self.ours)
        self._buffer = memoryview(bytearray(MAX_PACKET_BYTES))

    def send(self, places: list[Place], inside: list[bytes], *descriptors: int, kind: Kind = Kind.MESSAGE) -> None:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", d)) for d in descriptors]
        self.theirs.sendmsg(pack(places, inside, kind), control)

    def ring(self, descriptor: int, number: int = 1) -> None:
        self.send([Place(0, number)], [], descriptor, kind=Kind.RING)
        assert self.receive() is None

    def receive(self) -> list[bytes | memoryview] | None:
        frames = self.incoming.receive(self._buffer)
        return None if frames is None else list(frames)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_nothing_there_is_none(line: Line) -> None:
    assert line.receive() is None


def test_frames_inside_stay_as_they_were_when_more_packets_come(line: Line) -> None:
    for message in ([b"h1", b"first"], [b"h2", b"other"]):
        line.theirs.sendmsg(pack_inline(message))
    first, second = line.receive(), line.receive()
    assert (first, second) == ([b"h1", b"first"], [b"h2", b"other"])


def test_a_frame_in_a_ring_is_a_view_of_it_and_cannot_be_written(line: Line) -> None:
    ring = ring_of()
    line.ring(ring.descriptor)
    line.send([Place(1), Place(5, 1, ALIGNMENT), Place(4)], [b"h", b"tail"])
    frames = line.receive()
    assert frames is not None
    header, frame, tail = frames
    assert (header, tail) == (b"h", b"tail")
    assert isinstance(frame, memoryview)
    assert isinstance(frame.obj, mmap)
    assert frame.readonly
    ring.memory[ALIGNMENT : ALIGNMENT + 5] = b"later"
    assert bytes(frame) == b"later"


@pytest.mark.parametrize("offset", [1, 8, ALIGNMENT - 1, ALIGNMENT + 1])
def test_a_frame_that_is_not_aligned_is_copied(line: Line, offset: int) -> None:
    ring = ring_of()
    line.ring(ring.descriptor)
    line.send([Place(1), Place(5, 1, offset)], [b"h"])
    assert line.receive() == [b"h", bytes(5)]
    line.send([Place(1), Place(5, 1, offset)], [b"h"])
    frames = line.receive()
    assert frames is not None
    assert isinstance(frames[1], bytes)


def test_a_frame_outlives_its_ring_and_the_connection(line: Line) -> None:
    ring, other = ring_of(), ring_of()
    ring.memory[:5] = b"frame"
    line.ring(ring.descriptor)
    line.send([Place(1), Place(5, 1, 0)], [b"h"])
    frames = line.receive()
    line.ring(other.descriptor)
    for descriptor in (ring.descriptor, other.descriptor):
        os.close(descriptor)
    line.close()
    del line.incoming
    assert frames is not None
    assert frames[1] == b"frame"


def test_a_ring_that_is_refused_leaves_the_one_before(line: Line) -> None:
    ring = ring_of()
    ring.memory[:5] = b"frame"
    line.ring(ring.descriptor)
    line.send([Place(0, 1)], [], unsealed(), kind=Kind.RING)
    with pytest.raises(Unfit, match="seal it before it is sent"):
        line.receive()
    line.send([Place(1), Place(5, 1, 0)], [b"h"])
    assert line.receive() == [b"h", b"frame"]


def test_attached_memory_is_that_of_its_packet_alone(line: Line) -> None:
    memory = ring_of()
    memory.memory[:5] = b"frame"
    line.send([Place(1), Place(5, ATTACHED, 0)], [b"h"], memory.descriptor)
    assert line.receive() == [b"h", b"frame"]
    line.send([Place(1), Place(5, ATTACHED, 0)], [b"h"])
    with pytest.raises(Unfit, match="no descriptor came with the packet") as caught:
        line.receive()
    assert caught.value.header == b"h"


def test_the_end_comes_after_what_was_sent_before(line: Line) -> None:
    line.theirs.sendmsg(pack_inline([b"last"]))
    line.theirs.close()
    assert line.receive() == [b"last"]
    with pytest.raises(Ended):
        line.receive()


def test_a_connection_that_was_reset_has_ended(line: Line) -> None:
    line.ours.send(b"unread")
    line.theirs.close()
    with pytest.raises(Ended):
        line.receive()


def test_what_is_no_packet_is_refused(line: Line) -> None:
    line.theirs.send(b"garbage")
    with pytest.raises(BadPacket):
        line.receive()
