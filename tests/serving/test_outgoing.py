"""What a local client is sent: in order, however it reads, and in attached memory where it is large."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import select
import socket
from collections.abc import Iterator, Sequence

import pytest

from schedulerd.serving.counters import Dropped, Tally
from schedulerd.serving.handlers import Frame
from schedulerd.serving.outgoing import BACKLOG, UNREAD_BYTES, Outgoing, not_written
from schedulerd.wire import memfd
from schedulerd.wire.codec import decode_reply, encode
from schedulerd.wire.local import ALIGNMENT, ATTACHED, MAX_INLINE_BYTES, MAX_PACKET_BYTES, Place, unpack
from schedulerd.wire.messages import Code, Failure, Result, TensorHeader
from tests.serving.localpeer import frames_of

LARGE = MAX_INLINE_BYTES + 1


class Line:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.ours, self.theirs):
            end.setblocking(False)
        self.watcher = select.epoll()
        self.places: tuple[Place, ...] = ()
        """Where the frames of the last packet were."""
        self.tally = Tally()
        self.outgoing = Outgoing(self.ours, self.watcher, self.tally)

    def received(self) -> list[bytes]:
        """The frames of the next packet. BlockingIOError where there is none."""
        packet, control, _, _ = self.theirs.recvmsg(MAX_PACKET_BYTES, socket.CMSG_LEN(4))
        self.places = unpack(packet).places
        return [bytes(frame) for frame in frames_of(packet, control)]

    def wants_to_write(self) -> bool:
        return any(events & select.EPOLLOUT for _, events in self.watcher.poll(0))

    def fill(self) -> int:
        """Send numbered messages until the first one is kept; its number."""
        for number in range(1 + room()):
            assert self.outgoing.send(numbered(number))
        return number

    def close(self) -> None:
        self.outgoing.close()
        self.theirs.close()
        self.watcher.close()


@functools.cache
def room() -> int:
    """How many numbered messages the kernel takes from one that does not read."""
    line, sent = Line(), 0
    while line.outgoing.send(numbered(sent)):
        sent += 1
    line.close()
    return sent - BACKLOG


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def numbered(number: int) -> list[Frame]:
    return [str(number).encode()]


@pytest.mark.parametrize(
    "lengths",
    [
        (10, MAX_INLINE_BYTES),
        (10, LARGE),
        (10, LARGE, 5, 100_001),
        (LARGE, 10),
        (10, *[MAX_INLINE_BYTES] * 4),
        (100, *[MAX_INLINE_BYTES] * 32),
        (10, 5_000_000, 1),
    ],
)
def test_frames_of_any_size_arrive_whole_in_one_packet(line: Line, lengths: Sequence[int]) -> None:
    frames = [bytes([n]) * length for n, length in enumerate(lengths, 1)]
    assert line.outgoing.send([frames[0], *(memoryview(frame) for frame in frames[1:])])
    assert line.received() == frames
    assert all(place.offset % ALIGNMENT == 0 for place in line.places)
    assert all(place.where == ATTACHED for place in line.places if place.length > MAX_INLINE_BYTES)


def test_a_reply_for_which_memory_ends_half_way_is_never_taken_for_whole() -> None:
    """Its pages are got as it is written; here the file ends, and then cannot be written at all."""
    descriptor = memfd.create(mmap.PAGESIZE)
    assert not_written(descriptor, bytes(mmap.PAGESIZE), 0) is None
    assert not_written(descriptor, bytes(2 * mmap.PAGESIZE), 0) is not None
    assert not_written(descriptor, b"x", mmap.PAGESIZE) is not None
    os.close(descriptor)


def test_a_client_that_is_always_a_reply_behind_gets_every_large_one(line: Line) -> None:
    """Of several in flight there is always one that it has not read; that is no reason to drop what comes."""
    frames = [b"header", bytes(UNREAD_BYTES // 8)]
    assert line.outgoing.send(frames)
    for _ in range(12):
        assert line.outgoing.send(frames)
        assert line.received() == frames
    assert line.tally.dropped() == Dropped()


def test_what_is_kept_leaves_in_order_also_when_more_is_sent_meanwhile(line: Line) -> None:
    taken = line.fill()
    assert not line.wants_to_write()
    got = [line.received() for _ in range(taken)]
    # The kernel has room again, and nobody has looked: what is sent now must not overtake.
    assert line.outgoing.send(numbered(taken + 1))
    assert line.wants_to_write()
    line.outgoing.flush()
    got += [line.received() for _ in range(2)]
    assert got == [numbered(n) for n in range(taken + 2)]
    assert not line.wants_to_write()
    with pytest.raises(BlockingIOError):
        line.received()


def test_beyond_the_backlog_replies_are_dropped_and_counted(line: Line) -> None:
    line.fill()
    results = [line.outgoing.send(numbered(0)) for _ in range(BACKLOG + 2)]
    assert results == [True] * (BACKLOG - 1) + [False] * 3
    assert line.tally.dropped() == Dropped(replies=3)


def test_the_backlog_is_bounded_in_bytes_but_has_room_for_one_of_any_size(line: Line) -> None:
    taken = line.fill()
    half = memoryview(bytes(UNREAD_BYTES // 2))
    assert [line.outgoing.send([b"h", half]) for _ in range(3)] == [True, False, False]
    assert line.tally.dropped() == Dropped(replies=2)
    for _ in range(taken):
        line.received()
    line.outgoing.flush()
    assert [len(line.received()[-1]) for _ in range(2)] == [len(str(taken)), len(half)]
    # What has left makes room for as much again.
    line.fill()
    assert line.outgoing.send([b"h", half])


def test_a_reply_of_any_size_is_sent_to_one_that_reads(line: Line) -> None:
    for byte in (b"a", b"b"):
        whole = [b"h", byte * (UNREAD_BYTES + 1)]
        assert line.outgoing.send(whole)
        assert line.received() == whole


def test_who_waits_for_a_reply_that_there_is_no_memory_for_is_told_so(line: Line) -> None:
    """One that does not know of which request it is, as `h` here does not, is dropped without a word."""
    result = Result(7, (TensorHeader("uint8", (UNREAD_BYTES,)),), 1, ("a",), 0.5, 1.0, 1.0, 10.0, True)
    reply = [*encode(result), bytes(UNREAD_BYTES)]
    assert [line.outgoing.send(reply) for _ in range(2)] == [True, False]
    assert line.tally.dropped() == Dropped(replies=1)
    assert line.received() == [bytes(frame) for frame in reply]
    refused, _ = decode_reply(line.received())
    assert isinstance(refused, Failure)
    assert (refused.id, refused.code) == (7, Code.OVERLOADED)
    assert str(UNREAD_BYTES) in refused.message


def test_who_is_refused_a_reply_while_the_kernel_has_no_room_is_told_so_when_it_has(line: Line) -> None:
    result = Result(7, (TensorHeader("uint8", (UNREAD_BYTES,)),), 1, ("a",), 0.5, 1.0, 1.0, 10.0, True)
    reply = [*encode(result), bytes(UNREAD_BYTES)]
    assert line.outgoing.send(reply)
    # Not by way of `outgoing`, so that nothing is kept.
    with contextlib.suppress(BlockingIOError):
        while True:
            line.ours.send(b"x")
    assert not line.outgoing.send(reply)
    assert line.received() == [bytes(frame) for frame in reply]
    while line.theirs.recv(MAX_PACKET_BYTES, socket.MSG_PEEK) == b"x":
        line.theirs.recv(MAX_PACKET_BYTES)
        if line.wants_to_write():
            line.outgoing.flush()
    refused, _ = decode_reply(line.received())
    assert isinstance(refused, Failure)
    assert (refused.id, refused.code) == (7, Code.OVERLOADED)
    assert line.tally.dropped() == Dropped(replies=1)


def test_memory_that_is_not_read_is_bounded(line: Line) -> None:
    half: list[Frame] = [b"h", bytes(UNREAD_BYTES // 2)]
    assert [line.outgoing.send(half) for _ in range(4)] == [True, True, False, False]
    assert line.tally.dropped() == Dropped(replies=2)
    line.received()
    # Part of it has been read: that is not known, so it counts as none.
    assert not line.outgoing.send(half)
    line.received()
    assert line.outgoing.send(half)


def test_a_client_that_has_gone_gets_nothing_and_the_watcher_is_told(line: Line) -> None:
    line.theirs.close()
    assert not line.outgoing.send(numbered(1))
    ((_, events),) = line.watcher.poll(0)
    assert events & select.EPOLLRDHUP
    assert line.tally.dropped() == Dropped()


def test_a_client_that_reads_no_more_is_seen_as_gone(line: Line) -> None:
    line.theirs.shutdown(socket.SHUT_RD)
    assert not line.watcher.poll(0)
    assert not line.outgoing.send(numbered(1))
    ((_, events),) = line.watcher.poll(0)
    assert events & select.EPOLLRDHUP


def test_nothing_is_sent_after_closing() -> None:
    line = Line()
    line.close()
    assert not line.outgoing.send(numbered(1))
