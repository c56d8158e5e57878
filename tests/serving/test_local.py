"""The local socket with real clients: frames in shared memory, bad packets, clients that end, stop or do not read."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.counters import Dropped, Tally
from schedulerd.serving.events import Joined, Left
from schedulerd.serving.handlers import Handlers
from schedulerd.serving.local import LOCAL, MOST_OF_USER, LocalPort
from schedulerd.serving.outgoing import BACKLOG, UNREAD_BYTES
from schedulerd.wire import memfd
from schedulerd.wire.codec import encode
from schedulerd.wire.local import ATTACHED, MAX_INLINE_BYTES, MAX_PACKET_BYTES, Kind, Place, pack
from schedulerd.wire.messages import Code, Failure, Infer, Ping, Pong, Register, Result, TensorHeader
from tests.fakes import PATIENCE_S
from tests.serving.board import Board, Peer
from tests.serving.localclients import Program, registers, runs_a_frame_in_a_ring
from tests.serving.localpeer import INFER, ZEROS, LocalPeer, ring_of, unsealed
from tests.serving.parts import AddBlock, route_of

SIZE = ZEROS.nbytes


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.close()


@pytest.fixture
def peer(board: Board) -> Iterator[LocalPeer]:
    made = LocalPeer(board.endpoints.local)
    yield made
    made.close()


class LargeBlock:
    """A `LoadedBlock` that gives `count` numbers."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, tensor: Any) -> Any:
        return np.arange(self._count, dtype=np.float32).reshape(1, -1)


class HeldBlock:
    """A `LoadedBlock` that runs until it may leave."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self, tensor: Any) -> Any:
        self.entered.set()
        assert self.leave.wait(PATIENCE_S)
        return tensor + np.float32(1)


def register(board: Board, peer: LocalPeer, *blocks: Any) -> LiveApp:
    peer.register()
    return board.app(b"", route_of(*blocks or (AddBlock(1),)))


def left(board: Board) -> Left:
    """The next event, which says that an app has left."""
    event = board.events.get(timeout=PATIENCE_S)
    assert isinstance(event, Left)
    return event


def until(holds: Callable[[], bool]) -> None:
    never = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        never.wait(0.01)
    raise AssertionError("not in time")


def has_answered(app: LiveApp, requests: int) -> None:
    until(lambda: app.meter.answered == requests)


def unread(peer: LocalPeer) -> int:
    """Bytes that the daemon has not received yet."""
    return int(struct.unpack("i", fcntl.ioctl(peer.socket, termios.TIOCOUTQ, bytes(4)))[0])


def served(board: Board) -> bool:
    """Whether a newcomer is."""
    other = LocalPeer(board.endpoints.local)
    other.send(Ping(9))
    try:
        return bool(other.answer() == Pong(9))
    finally:
        other.close()


def result_of(peer: LocalPeer) -> Any:
    reply, tensors = peer.receive()
    assert isinstance(reply, Result), reply
    return np.frombuffer(tensors[0], np.float32)


# Frames, and where they lie.


def test_a_frame_inside_its_packet_runs(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    peer.infer()
    np.testing.assert_array_equal(result_of(peer), np.ones(4))


def test_a_frame_in_a_ring_runs_and_its_place_may_be_used_again(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    ring = ring_of()
    peer.hand_over(ring.descriptor)
    os.close(ring.descriptor)
    for value in (1, 2):
        ring.memory[128 : 128 + SIZE] = bytes([value] * SIZE)
        peer.infer(1 + value, Place(SIZE, 1, 128))
        np.testing.assert_array_equal(result_of(peer), np.full(4, value + 1))


def test_a_frame_that_begins_anywhere_runs(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    ring = ring_of()
    peer.hand_over(ring.descriptor)
    ring.memory[7 : 7 + SIZE] = bytes([5] * SIZE)
    peer.infer(2, Place(SIZE, 1, 7))
    np.testing.assert_array_equal(result_of(peer), np.full(4, 6))


def test_a_ring_takes_the_place_of_the_one_with_its_number(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    for value in (3, 4):
        ring = ring_of()
        ring.memory[:SIZE] = bytes([value] * SIZE)
        peer.hand_over(ring.descriptor, 2)
        peer.infer(value, Place(SIZE, 2, 0))
        np.testing.assert_array_equal(result_of(peer), np.full(4, value + 1))


def test_a_frame_in_attached_memory_runs(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    ring = ring_of()
    ring.memory[64 : 64 + SIZE] = bytes([8] * SIZE)
    peer.infer(2, Place(SIZE, ATTACHED, 64), ring.descriptor)
    np.testing.assert_array_equal(result_of(peer), np.full(4, 9))


def test_who_has_an_answer_has_room_for_the_next_request(board: Board, peer: LocalPeer) -> None:
    app = register(board, peer)
    for message_id in range(2, 200):
        peer.infer(message_id)
        result_of(peer)
        assert app.queued == 0


@pytest.mark.parametrize("count", [MAX_INLINE_BYTES // 4, MAX_INLINE_BYTES // 4 + 1, 1_000_000])
def test_a_reply_of_any_size_arrives(board: Board, peer: LocalPeer, count: int) -> None:
    register(board, peer, LargeBlock(count))
    peer.infer()
    np.testing.assert_array_equal(result_of(peer), np.arange(count))


def test_a_large_reply_is_sealed_memory(board: Board, peer: LocalPeer) -> None:
    register(board, peer, LargeBlock(1_000_000))
    peer.infer()
    _, control, _, _ = peer.socket.recvmsg(MAX_PACKET_BYTES, 100)
    (descriptor,) = struct.unpack("i", control[0][2])
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & memfd.SEALS == memfd.SEALS
    os.close(descriptor)


# Memory that cannot be had.


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (unsealed, "seal it before it is sent"),
        (lambda: unsealed(seals=fcntl.F_SEAL_GROW), "seal it before it is sent"),
        (lambda: os.eventfd(0), "no memfd"),
        (lambda: memfd.create(0), "has 0 bytes"),
        (lambda: memfd.create(2**40), "it may have 1 to"),
    ],
)
def test_a_ring_that_may_not_be_mapped_is_refused_with_the_remedy(
    board: Board, peer: LocalPeer, make: Callable[[], int], complaint: str
) -> None:
    descriptor = make()
    peer.hand_over(descriptor, 3)
    os.close(descriptor)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (0, Code.BAD_VALUE)
    assert reply.message.startswith("ring 3: ")
    assert complaint in reply.message
    assert board.gateway.counters() == Dropped(rings=1)
    register(board, peer)
    peer.infer()
    np.testing.assert_array_equal(result_of(peer), np.ones(4))


def test_a_ring_of_huge_pages_is_refused(peer: LocalPeer) -> None:
    try:
        descriptor = unsealed(2**21, memfd.SEALS, os.MFD_HUGETLB)
    except OSError as error:
        pytest.skip(f"this kernel has no huge pages: {error}")
    peer.hand_over(descriptor)
    os.close(descriptor)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert "create it without MFD_HUGETLB" in reply.message


@pytest.mark.parametrize(
    "places", [[Place(0, 0)], [Place(0, 5)], [Place(1, 1)], [Place(0, 1, 64)], [Place(0, 1), Place(0, 2)]]
)
def test_a_ring_that_is_not_one_place_is_refused(peer: LocalPeer, places: list[Place]) -> None:
    ring = ring_of()
    peer.raw(b"".join(pack(places, [], Kind.RING)), ring.descriptor)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (0, Code.BAD_VALUE)
    assert "its number, 1 to 4" in reply.message


def test_a_ring_without_a_descriptor_is_refused(peer: LocalPeer) -> None:
    peer.raw(b"".join(pack([Place(0, 1)], [], Kind.RING)))
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (0, Code.BAD_VALUE)
    assert "SCM_RIGHTS" in reply.message


@pytest.mark.parametrize(
    ("place", "code", "complaint"),
    [
        (Place(SIZE, 2, 0), Code.BAD_VALUE, "there is no ring 2; rings: 1"),
        (Place(SIZE, 77, 0), Code.BAD_VALUE, "there is no ring 77; rings: 1"),
        (Place(SIZE, ATTACHED, 0), Code.BAD_VALUE, "no descriptor came with the packet"),
        (Place(SIZE, 1, 4096), Code.BAD_TENSOR, "end beyond the 4096 bytes"),
        (Place(SIZE, 1, 2**64 - 1), Code.BAD_TENSOR, "end beyond the 4096 bytes"),
        (Place(4096, 1, 64), Code.BAD_TENSOR, "end beyond the 4096 bytes"),
        (Place(SIZE - 1, 1, 0), Code.BAD_TENSOR, f"{SIZE} bytes; its frame has {SIZE - 1}"),
    ],
)
def test_a_frame_where_nothing_is_is_refused_under_its_id(
    board: Board, peer: LocalPeer, place: Place, code: Code, complaint: str
) -> None:
    app = register(board, peer)
    peer.hand_over(ring_of().descriptor)
    peer.infer(5, place)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (5, code)
    assert complaint in reply.message
    assert app.meter.refused == {code: 1}
    peer.infer(6, Place(SIZE, 1, 0))
    np.testing.assert_array_equal(result_of(peer), np.ones(4))


def test_attached_memory_that_may_not_be_mapped_is_refused_under_the_id_of_its_frame(peer: LocalPeer) -> None:
    peer.infer(7, Place(SIZE, ATTACHED, 0), unsealed())
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (7, Code.BAD_VALUE)
    assert "seal it before it is sent" in reply.message


# Packets that are none.


@pytest.mark.parametrize(
    "packet",
    [
        b"garbage",
        b"\1\0\0\0",
        bytes(MAX_PACKET_BYTES),
        b"\1" * (MAX_PACKET_BYTES + 1),
        b"".join(pack([Place(4, 1)], [])),
    ],
    ids=["garbage", "empty", "zeros", "truncated", "header in a ring"],
)
def test_what_is_no_packet_costs_only_its_sender_the_connection(board: Board, peer: LocalPeer, packet: bytes) -> None:
    register(board, peer)
    peer.raw(packet)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert (reply.id, reply.code) == (0, Code.BAD_MESSAGE)
    assert peer.ended()
    assert left(board).reason == "connection lost"
    assert board.gateway.counters() == Dropped(packets=1)
    assert served(board)


def test_more_than_one_descriptor_costs_the_connection(board: Board, peer: LocalPeer) -> None:
    ring = ring_of()
    peer.raw(b"".join(pack([Place(0, 1)], [], Kind.RING)), ring.descriptor, ring.descriptor)
    reply = peer.answer()
    assert isinstance(reply, Failure)
    assert reply.code is Code.BAD_MESSAGE
    assert peer.ended()
    assert served(board)


def test_a_packet_of_nothing_is_the_end(board: Board, peer: LocalPeer) -> None:
    """The kernel shows both in the same way."""
    register(board, peer)
    peer.raw(b"")
    assert left(board)
    assert peer.ended()
    assert board.gateway.counters() == Dropped()


# Many connections.


def test_there_is_a_limit_for_all_users_together(tmp_path: Path) -> None:
    handlers = Handlers(*[lambda *_: None] * len(Handlers._fields))
    tally, watcher = Tally(), select.epoll()
    port = LocalPort(tmp_path / "local.sock", handlers, tally, watcher, most=2)
    peers = [LocalPeer(port.path) for _ in range(3)]
    while tally.dropped() == Dropped() and (ready := watcher.poll(PATIENCE_S)):
        port.serve(ready)
    refused = peers[-1].answer()
    assert (refused.code, refused.message.split(",")[0]) == (Code.OVERLOADED, "2 clients are connected")
    for peer in peers:
        peer.close()
    port.close()
    watcher.close()


def test_connections_of_a_user_beyond_the_limit_are_refused_until_one_has_left(board: Board) -> None:
    path = board.endpoints.local
    peers = [LocalPeer(path) for _ in range(200)]
    for peer in peers[:MOST_OF_USER]:
        peer.send(Ping(1))
    answers = [peer.answer() for peer in peers]
    assert answers[:MOST_OF_USER] == [Pong(1)] * MOST_OF_USER
    assert {(a.id, a.code) for a in answers[MOST_OF_USER:]} == {(0, Code.OVERLOADED)}
    assert f"{MOST_OF_USER} clients of user {os.getuid()}" in answers[-1].message
    assert peers[-1].ended()
    assert board.gateway.counters() == Dropped(connections=200 - MOST_OF_USER)
    peers[0].close()
    assert served(board)
    for peer in peers:
        peer.close()


# Clients that end.


def test_a_client_that_is_killed_leaves_nothing_behind(board: Board) -> None:
    """It dies while a block reads its frame: the block ends as ever, then the memory goes as well."""
    program = Program(runs_a_frame_in_a_ring, board.endpoints.local)
    assert program.said() == "registered"
    held = HeldBlock()
    app = board.app(b"", route_of(held))
    program.pipe.send("go on")
    assert program.said() == "sent"
    assert held.entered.wait(PATIENCE_S)
    assert "memfd:schedulerd" in Path("/proc/self/maps").read_text()
    program.kill()
    held.leave.set()
    assert left(board).app is app
    assert app.gone
    assert board.registry.all() == ()
    until(lambda: board.queue.open == 0)
    assert served(board)
    until(lambda: "memfd:schedulerd" not in Path("/proc/self/maps").read_text())


def test_requests_of_a_client_that_has_left_are_not_run(board: Board, peer: LocalPeer) -> None:
    other = LocalPeer(board.endpoints.local)
    held, ran = HeldBlock(), threading.Event()
    register(board, other, held)
    register(board, peer, AddBlock(1, ran.set))
    other.infer()
    assert held.entered.wait(PATIENCE_S)
    for message_id in (2, 3):
        peer.infer(message_id)
    peer.close()
    held.leave.set()
    np.testing.assert_array_equal(result_of(other), np.ones(4))
    assert left(board)
    until(lambda: board.queue.open == 0)
    other.infer(3)
    np.testing.assert_array_equal(result_of(other), np.ones(4))
    other.close()


def test_a_client_that_reads_no_more_is_gone(board: Board, peer: LocalPeer) -> None:
    register(board, peer)
    peer.socket.shutdown(socket.SHUT_RD)
    peer.send(Ping(3))
    assert left(board)
    assert board.events.empty()


@pytest.mark.parametrize("local", [True, False], ids=["local", "ZeroMQ"])
def test_the_name_of_a_client_that_has_ended_is_free_at_once(board: Board, peer: LocalPeer, local: bool) -> None:
    peer.register("cam")
    assert isinstance(board.events.get(timeout=PATIENCE_S), Joined)
    peer.close()
    if local:
        newcomer = LocalPeer(board.endpoints.local)
        newcomer.register("cam")
        close = newcomer.close
    else:
        second = Peer(board.endpoints.infer)
        second.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0, app="cam")))
        close = second.close
    assert left(board)
    assert isinstance(board.events.get(timeout=PATIENCE_S), Joined)
    close()


def test_a_client_that_has_ended_cannot_be_reached_before_anybody_has_looked(tmp_path: Path) -> None:
    board = Board(tmp_path, lanes=0)
    peer = LocalPeer(board.endpoints.local)
    peer.register()
    while board.events.empty():
        board.gateway.turn(PATIENCE_S)
    app = board.app(b"", route_of(AddBlock(1)))
    assert board.gateway.reachable(app.identity)
    peer.close()
    assert not board.gateway.reachable(app.identity)
    assert board.events.empty()
    board.close()
    assert not board.gateway.reachable(app.identity)


def test_a_zeromq_client_that_is_killed_is_gone_without_anybody_asking_for_it(board: Board) -> None:
    """The board has no control loop, which would ask silent apps."""
    program = Program(registers, board.endpoints.infer)
    assert program.said() == "registered"
    app = board.app(b"", route_of(AddBlock(1)))
    program.kill()
    assert left(board).app is app
    assert board.registry.all() == ()


def test_a_stopped_client_is_given_up_and_told_when_it_goes_on(board: Board) -> None:
    program = Program(runs_a_frame_in_a_ring, board.endpoints.local)
    assert program.said() == "registered"
    app = board.app(b"", route_of(AddBlock(1)))
    program.pipe.send("go on")
    assert program.said() == "sent"
    program.signal(signal.SIGSTOP)
    assert left(board).app is app
    assert served(board)
    program.signal(signal.SIGCONT)
    assert program.said() == "ended"
    assert program.join() == 0


# Clients that do not read.


def test_a_client_that_does_not_read_costs_only_its_own_replies(board: Board, peer: LocalPeer) -> None:
    sent = 0
    while not board.gateway.counters().replies:
        sent += 1
        peer.send(Ping(sent))
        assert sent < 100_000
    until(lambda: unread(peer) == 0)
    assert served(board)
    kept = sent - board.gateway.counters().replies
    assert kept > BACKLOG
    assert [peer.answer() for _ in range(kept)] == [Pong(n) for n in range(1, kept + 1)]
    peer.send(Ping(sent + 1))
    assert peer.answer() == Pong(sent + 1)


def test_memory_for_a_client_that_does_not_read_is_bounded(board: Board, peer: LocalPeer) -> None:
    app = register(board, peer, LargeBlock(UNREAD_BYTES // 4 // 4))
    for message_id in range(2, 8):
        peer.infer(message_id)
        has_answered(app, message_id - 1)
    assert served(board)
    assert board.gateway.counters().replies == 2
    answers = [peer.answer() for _ in range(6)]
    assert [(answer.id, isinstance(answer, Result)) for answer in answers] == [
        *((number, True) for number in (2, 3, 4, 5)),
        *((number, False) for number in (6, 7)),
    ]
    peer.infer(8)
    assert peer.answer().id == 8


def test_a_name_that_looks_local_does_not_reach_a_local_client(board: Board, peer: LocalPeer) -> None:
    app = register(board, peer)
    thief = Peer(board.endpoints.infer, LOCAL + b"thief")
    thief.socket.send_multipart(encode(Infer(2, (TensorHeader("uint8", INFER.shape),)), (ZEROS,)))
    peer.infer()
    np.testing.assert_array_equal(result_of(peer), np.ones(4))
    assert app.identity.startswith(LOCAL)
    thief.close()


# The socket itself.


def test_the_file_is_for_the_group_and_goes_with_the_daemon(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stale.bind(str(tmp_path / "local.sock"))
    stale.close()
    board = Board(tmp_path)
    path = board.endpoints.local
    assert path.stat().st_mode & 0o777 == 0o660
    assert served(board)
    peer = LocalPeer(path)
    board.close()
    assert not path.exists()
    assert peer.ended()
    peer.close()


def test_who_has_connected_comes_from_the_kernel(board: Board, peer: LocalPeer) -> None:
    app = register(board, peer)
    assert board.gateway.peer(app.identity)[:2] == (os.geteuid(), os.getpid())
