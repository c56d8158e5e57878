"""A full queue on real sockets: the lower priority is refused first, and its client is told why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from schedulerd.serving.apps import LiveApp
from schedulerd.wire.codec import encode
from schedulerd.wire.messages import Code, Failure, Infer, Register, TensorHeader, Unregister, Unregistered
from tests.serving.board import TIMEOUT_MS, Board, Peer
from tests.serving.parts import FRAME, AddBlock, route_of

ZEROS = np.zeros(FRAME.shape, np.uint8)


def turns_until(board: Board, holds: Callable[[], bool]) -> None:
    """Take in what arrives, as no lane does it here."""
    for _ in range(TIMEOUT_MS // 100):
        if holds():
            return
        board.gateway.turn(0.1)
    raise AssertionError("it did not come to that")


def registered(board: Board, peer: Peer, name: str, priority: int) -> LiveApp:
    peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0, priority=priority, app=name)))
    turns_until(board, lambda: not board.events.empty())
    return board.app(name.encode(), route_of(AddBlock()))


def send(peer: Peer, message_id: int) -> None:
    peer.socket.send_multipart(encode(Infer(message_id, (TensorHeader("uint8", FRAME.shape),)), (ZEROS,)))


def test_the_request_that_makes_way_is_answered_and_counted(tmp_path: Path) -> None:
    board = Board(tmp_path, lanes=0)
    poor, rich = Peer(board.endpoints.infer, b"poor"), Peer(board.endpoints.infer, b"rich")
    low, high = registered(board, poor, "low", 1), registered(board, rich, "high", 9)
    for message_id in (2, 3, 4, 5):
        send(poor, message_id)
    turns_until(board, lambda: board.queue.open == 4)
    send(rich, 2)
    turns_until(board, lambda: high.queued == 1)
    refusal = poor.answer()
    assert isinstance(refusal, Failure)
    assert (refusal.id, refusal.code) == (5, Code.OVERLOADED)
    assert "in favour of priority 9" in refusal.message
    assert (low.queued, low.meter.refused, high.meter.refused) == (3, {"overloaded": 1}, {})
    poor.close()
    rich.close()
    board.close()


def test_what_waits_of_a_client_that_leaves_is_gone_at_once(tmp_path: Path) -> None:
    board = Board(tmp_path, lanes=0)
    peer = Peer(board.endpoints.infer)
    app = registered(board, peer, "cam", 5)
    for message_id in (2, 3):
        send(peer, message_id)
    turns_until(board, lambda: board.queue.waiting == 2)
    peer.socket.send_multipart(encode(Unregister(9)))
    turns_until(board, lambda: app.gone)
    assert (board.queue.open, board.queue.waiting) == (0, 0)
    assert isinstance(peer.answer(), Unregistered)
    peer.close()
    board.close()
