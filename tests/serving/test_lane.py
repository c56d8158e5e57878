"""Real sockets, real lanes, small blocks: what a client sees of the request path, good messages and bad ones."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from schedulerd.clock import SystemClock
from schedulerd.errors import SchedulerdError
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Asked, Joined, Left
from schedulerd.serving.executor import Executor
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.handlers import Handlers
from schedulerd.serving.lane import Lane
from schedulerd.serving.route import LoadedRoute
from schedulerd.serving.zmqport import HARD_FRAME_BYTES
from schedulerd.wire.codec import decode_reply, encode
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.messages import (
    MAX_TENSOR_BYTES,
    Code,
    Failure,
    Infer,
    Ping,
    Pong,
    Register,
    Result,
    Status,
    TensorHeader,
    Unregister,
    Unregistered,
)
from tests.fakes import PATIENCE_S, FakeClock
from tests.serving.board import TIMEOUT_MS, Board, Peer
from tests.serving.parts import (
    FRAME,
    AddBlock,
    BrokenBlock,
    BrokenHead,
    NumpyEngine,
    SureHead,
    exit_of,
    job_for,
    live_app,
    route_of,
    route_with,
)

ZEROS = np.zeros(FRAME.shape, np.uint8)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.close()


@pytest.fixture
def peer(board: Board) -> Iterator[Peer]:
    made = Peer(board.endpoints.infer)
    yield made
    made.close()


def register(board: Board, peer: Peer, route: LoadedRoute | None = None) -> LiveApp:
    peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0)))
    return board.app(b"peer", route or route_of(AddBlock(1), AddBlock(2)))


def infer(peer: Peer, message_id: int = 2) -> Any:
    return peer.ask(*encode(Infer(message_id, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))


def test_a_frame_runs_through_all_blocks(board: Board, peer: Peer) -> None:
    register(board, peer)
    peer.socket.send_multipart(encode(Infer(2, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))
    assert peer.socket.poll(TIMEOUT_MS)
    reply, buffers = decode_reply(peer.socket.recv_multipart())
    assert isinstance(reply, Result)
    assert (reply.id, reply.route) == (2, ("r0", "r1"))
    np.testing.assert_array_equal(np.frombuffer(buffers[0], np.float32), np.full(4, 3.0))


def test_what_is_queued_while_the_baton_is_taken_leaves_when_it_is_passed(tmp_path: Path) -> None:
    """Another lane finds the baton taken and goes on with its next block; its reply must not wait for that."""
    board = Board(tmp_path, lanes=0)
    peer = Peer(board.endpoints.infer)
    board.gateway.baton.acquire()
    peer.socket.send_multipart(encode(Ping(1)))
    while not peer.socket.poll(0):
        board.gateway.turn(0.1)
    assert peer.answer() == Pong(1)
    board.gateway.reply(b"peer", encode(Pong(2)))
    board.gateway.pass_baton()
    assert peer.answer() == Pong(2)
    assert not board.gateway.baton.locked()
    peer.close()
    board.close()


def test_who_was_in_a_batch_is_answered_though_the_others_go_on(tmp_path: Path) -> None:
    """Its reply is queued in the middle of another's route; the lane that waits on the sockets is to send it now."""
    board = Board(tmp_path, lanes=0)
    lane = Lane(0, board.gateway, board.queue, Executor(NumpyEngine(), SystemClock()), SystemClock())
    further, go_on = threading.Event(), threading.Event()

    def second() -> None:
        further.set()
        go_on.wait(PATIENCE_S)

    first = AddBlock(watch=lambda: board.gateway.reply(b"batched", encode(Pong(1))))
    board.queue.put(job_for(live_app(route=route_of(first, AddBlock(watch=second)))))
    with board.gateway.baton:
        lane.start()
        assert further.wait(PATIENCE_S)
        assert select.select([board.gateway._wake], [], [], 0)[0], "nobody was woken to send it"
    go_on.set()
    lane.stop()
    lane.join(PATIENCE_S)
    board.close()


def test_short_blocks_run_on_until_somebody_waits(tmp_path: Path) -> None:
    """Between blocks of microseconds no socket is looked at, but who is more urgent goes first all the same."""
    board, clock, order = Board(tmp_path, lanes=0), FakeClock(), []
    lane = Lane(0, board.gateway, board.queue, Executor(NumpyEngine(), clock), clock)
    urgent = job_for(live_app("urgent", route=route_of(AddBlock(watch=lambda: order.append("urgent")))))
    urgent.deadline_s = -1.0

    def comes() -> None:
        order.append("first")
        board.queue.put(urgent)

    blocks = [AddBlock(watch=watch) for watch in (comes, *[lambda: order.append("later")] * 2)]
    job = job_for(live_app(route=route_of(*blocks)))
    board.queue.put(job)
    following = lane._advance(board.queue.take() or job)
    assert (order, following) == (["first"], urgent)
    assert lane._advance(urgent) is None
    waiting = board.queue.take()
    assert waiting is job
    assert lane._advance(job) is None
    assert order == ["first", "urgent", "later", "later"]
    board.close()


def test_short_blocks_run_no_further_where_something_waits_to_be_sent(tmp_path: Path) -> None:
    """A reply must not wait behind the next block, which may be long."""
    board, clock = Board(tmp_path, lanes=0), FakeClock()
    lane = Lane(0, board.gateway, board.queue, Executor(NumpyEngine(), clock), clock)
    first = AddBlock(watch=lambda: board.gateway.answer(b"operator", encode(Pong(1))))
    job = job_for(live_app(route=route_of(first, AddBlock(), AddBlock())))
    board.queue.put(job)
    assert lane._advance(board.queue.take() or job) is job
    assert job.next_block == 1
    board.close()


def test_the_local_socket_is_there_before_the_other_one(tmp_path: Path) -> None:
    """A client that finds `infer.sock` alone takes the daemon for one without a local socket."""
    (tmp_path / "local.sock").mkdir()
    with pytest.raises(SchedulerdError, match=r"cannot listen on .*local\.sock"):
        Gateway(Endpoints.within(tmp_path), Handlers(*[lambda *_: None] * 5), SystemClock())
    assert not (tmp_path / "infer.sock").exists()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ((b"\xc1 not msgpack",), Code.BAD_MESSAGE),
        ((msgpack.packb([1, 2]),), Code.BAD_MESSAGE),
        ((msgpack.packb({"v": 1, "op": "dance", "id": 3}),), Code.UNKNOWN_OP),
        ((msgpack.packb({"v": 99, "op": "infer", "id": 3}),), Code.UNSUPPORTED_VERSION),
        ((b"x" * 100_000,), Code.TOO_LARGE),
        ((*encode(Ping(3)), *([b"x"] * 50)), Code.BAD_MESSAGE),
        ((msgpack.packb({"v": 1, "op": "ping", "id": 3, b"": 1, "zzz": 2}),), Code.BAD_MESSAGE),
        ((msgpack.packb({"v": 1, "op": "infer", "id": 3, b"": 1, "zzz": 2}),), Code.BAD_MESSAGE),
        (tuple(encode(Infer(3, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,))), Code.NOT_REGISTERED),
        (tuple(encode(Register(3, "m", -1.0, 10.0))), Code.BAD_VALUE),
        (tuple(encode(Register(3, "n", 1.0, 10.0))), Code.UNKNOWN_MODEL),
        (tuple(encode(Register(3, "m", 1.0, 10.0, exits={"final": 0.0}))), Code.BAD_VALUE),
        (tuple(encode(Register(3, "m", 1.0, 10.0, late="exit"))), Code.BAD_VALUE),
        (tuple(encode(Status(3))), Code.BAD_VALUE),
    ],
)
def test_a_bad_message_is_answered_with_its_code_and_the_next_one_served(
    peer: Peer, frames: tuple[Any, ...], code: Code
) -> None:
    reply = peer.ask(*frames)
    assert isinstance(reply, Failure)
    assert reply.code is code
    assert reply.message
    assert isinstance(peer.ask(*encode(Ping(4))), Pong)


def test_nan_rate_is_refused(peer: Peer) -> None:
    header = {"v": 1, "op": "register", "id": 3, "model": "m", "budget_ms": 5.0, "rate_hz": float("nan")}
    reply = peer.ask(msgpack.packb(header))
    assert isinstance(reply, Failure)
    assert reply.code is Code.BAD_VALUE


def test_a_frame_over_the_limit_is_refused_with_the_limit(board: Board, peer: Peer) -> None:
    register(board, peer)
    header = {"v": 1, "op": "infer", "id": 5, "tensors": [{"dtype": "uint8", "shape": [MAX_TENSOR_BYTES + 1]}]}
    reply = peer.ask(msgpack.packb(header), bytes(MAX_TENSOR_BYTES + 1))
    assert isinstance(reply, Failure)
    assert reply.code is Code.TOO_LARGE
    assert isinstance(infer(peer), Result)


def test_a_frame_far_over_the_limit_costs_only_its_sender_the_connection(board: Board, peer: Peer) -> None:
    flooder = Peer(board.endpoints.infer, b"flooder")
    flooder.socket.send_multipart([b"h", bytes(HARD_FRAME_BYTES + 1)])
    register(board, peer)
    assert isinstance(infer(peer), Result)
    flooder.close()


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 1)])
def test_a_frame_of_the_wrong_shape_is_refused(board: Board, peer: Peer, shape: tuple[int, ...]) -> None:
    app = register(board, peer)
    reply = peer.ask(*encode(Infer(2, (TensorHeader("uint8", shape),)), (np.zeros(shape, np.uint8),)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.BAD_TENSOR
    assert app.meter.refused == {"bad_tensor": 1}


def test_registering_twice_is_refused_and_the_first_stays(board: Board, peer: Peer) -> None:
    register(board, peer)
    reply = peer.ask(*encode(Register(7, "m", 50.0, 10.0)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.ALREADY_REGISTERED
    assert isinstance(infer(peer), Result)


def test_a_name_in_use_is_refused_while_its_holder_lives(board: Board, peer: Peer) -> None:
    peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0, app="cam")))
    board.app(b"peer", route_of(AddBlock()))
    other = Peer(board.endpoints.infer, b"other")
    reply = other.ask(*encode(Register(1, "m", 50.0, 10.0, app="cam")))
    assert isinstance(reply, Failure)
    assert reply.code is Code.NAME_TAKEN
    other.close()


def test_a_client_that_died_leaves_its_name_to_the_next(board: Board) -> None:
    first = Peer(board.endpoints.infer, b"first")
    first.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0, app="cam")))
    board.app(b"first", route_of(AddBlock()))
    first.close()
    second = Peer(board.endpoints.infer, b"second")
    # The kernel tells the daemon's I/O thread of the closed connection at its leisure: ask until it has.
    until = threading.Event()
    for _ in range(200):
        second.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0, app="cam")))
        if not second.socket.poll(50):
            break
        reply, _ = decode_reply(second.socket.recv_multipart())
        if isinstance(reply, Ping):
            break
        assert isinstance(reply, Failure)
        until.wait(0.01)
    left, joined = board.events.get(timeout=10), board.events.get(timeout=10)
    assert isinstance(left, Left)
    assert isinstance(joined, Joined)
    second.close()


def test_a_reply_to_a_client_that_is_gone_ends_its_registration(board: Board, peer: Peer) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        leave.wait(10)

    dying = Peer(board.endpoints.infer, b"dying")
    dying.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0)))
    app = board.app(b"dying", route_of(AddBlock(1, hold)))
    dying.socket.send_multipart(encode(Infer(2, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))
    assert entered.wait(10)
    dying.close()
    leave.set()
    # The reply, or one of the probes after it, cannot be delivered.
    until = threading.Event()
    for _ in range(500):
        if app.gone:
            break
        board.gateway.reply(b"dying", encode(Ping(0)))
        board.gateway.wake()
        until.wait(0.01)
    assert isinstance(board.events.get(timeout=10), Left)
    register(board, peer)
    assert isinstance(infer(peer), Result)
    assert board.queue.open == 0


def test_a_block_that_fails_is_an_engine_fault_of_that_request_alone(board: Board, peer: Peer) -> None:
    app = register(board, peer, route_of(AddBlock(), BrokenBlock()))
    reply = infer(peer)
    assert isinstance(reply, Failure)
    assert reply.code is Code.ENGINE_FAULT
    assert "block 1" in reply.message
    broken = app.route
    app.route = route_of(AddBlock())
    assert isinstance(infer(peer), Result)
    assert broken is not None
    assert broken.pins.drained


def test_a_head_that_fails_is_an_engine_fault_of_that_request_alone(board: Board, peer: Peer) -> None:
    app = register(board, peer, route_with(exit_of(0, BrokenHead()), blocks=[AddBlock(), AddBlock()]))
    reply = infer(peer)
    assert isinstance(reply, Failure)
    assert reply.code is Code.ENGINE_FAULT
    broken = app.route
    app.route = route_with(exit_of(0, SureHead()), blocks=[AddBlock(), AddBlock()])
    reply = infer(peer, 3)
    assert isinstance(reply, Result)
    assert (reply.exit, reply.left) == ("exit1", "confident")
    assert broken is not None
    assert broken.pins.drained


def test_an_exit_that_the_route_has_not_is_refused_and_counted(board: Board, peer: Peer) -> None:
    app = register(board, peer)
    reply = peer.ask(*encode(Infer(2, (TensorHeader("uint8", FRAME.shape),), ("exit1",)), (ZEROS,)))
    assert isinstance(reply, Failure)
    assert (reply.code, reply.message) == (Code.BAD_VALUE, "the route of 'm' has no exit 'exit1'; it has final")
    assert app.meter.refused == {"bad_value": 1}


def test_a_full_queue_answers_overloaded_and_loses_nothing(board: Board, peer: Peer) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        leave.wait(10)

    register(board, peer, route_of(AddBlock(1, hold), AddBlock(1)))
    for message_id in range(2, 9):
        peer.socket.send_multipart(encode(Infer(message_id, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))
    assert entered.wait(10)
    leave.set()
    replies = {reply.id: reply for reply in (peer.answer() for _ in range(7))}
    assert set(replies) == set(range(2, 9))
    refused = [r for r in replies.values() if isinstance(r, Failure)]
    assert {r.code for r in refused} == {Code.OVERLOADED}
    assert len(replies) - len(refused) >= 4


def test_after_the_order_to_stop_frames_and_registrations_are_refused(board: Board, peer: Peer) -> None:
    register(board, peer)
    board.front.stopping.set()
    reply = infer(peer)
    assert isinstance(reply, Failure)
    assert reply.code is Code.SHUTTING_DOWN
    other = Peer(board.endpoints.infer, b"other")
    reply = other.ask(*encode(Register(1, "m", 50.0, 10.0)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.SHUTTING_DOWN
    other.close()


def test_unregister_gives_the_app_up(board: Board, peer: Peer) -> None:
    app = register(board, peer)
    assert isinstance(peer.ask(*encode(Unregister(9))), Unregistered)
    assert isinstance(board.events.get(timeout=10), Left)
    assert app.gone
    reply = infer(peer)
    assert isinstance(reply, Failure)
    assert reply.code is Code.NOT_REGISTERED


def test_an_operator_of_this_user_is_passed_on_to_the_control_loop(board: Board) -> None:
    operator = Peer(board.endpoints.control, b"operator")
    operator.socket.send_multipart(encode(Status(5)))
    event = board.events.get(timeout=10)
    assert isinstance(event, Asked)
    assert event.request == Status(5)
    operator.close()


def test_an_operator_who_is_not_permitted_is_told_how_to_be(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.front.control_users = frozenset({4_000_000})
    operator = Peer(board.endpoints.control, b"operator")
    reply = operator.ask(*encode(Status(5)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.NOT_PERMITTED
    assert "control_users" in reply.message
    operator.close()
    board.close()


def test_two_lanes_serve_two_clients_at_once(tmp_path: Path) -> None:
    """Each frame waits inside its block until the other one is inside too: with one lane this would never end."""
    board = Board(tmp_path, lanes=2)
    meeting = threading.Barrier(2, timeout=10)
    peers = [Peer(board.endpoints.infer, name) for name in (b"a", b"b")]
    for peer in peers:
        peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0)))
        board.app(b"", route_of(AddBlock(1, lambda: meeting.wait() and None)))
    for peer in peers:
        peer.socket.send_multipart(encode(Infer(2, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))
    assert all(isinstance(peer.answer(), Result) for peer in peers)
    for peer in peers:
        peer.close()
    board.close()
