"""Apps that register under a name of the configuration's, or without a budget: on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd.serving.defaults import Defaults
from schedulerd.wire.codec import encode
from schedulerd.wire.messages import Code, Failure, Register
from tests.serving.board import Board, Peer


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


def test_an_alias_and_its_budget_become_the_apps(board: Board, peer: Peer) -> None:
    board.front.defaults = Defaults({"gate": "m"}, {"gate": 25.0})
    peer.socket.send_multipart(encode(Register(1, "gate", None, 10.0)))
    app = board.app(b"peer", None)
    assert (app.spec.app_id, app.spec.model, app.spec.budget_ms) == ("gate", "m", 25.0)


def test_no_budget_anywhere_is_refused_with_the_remedy(board: Board, peer: Peer) -> None:
    reply = peer.ask(*encode(Register(1, "m", None, 10.0)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.BAD_VALUE
    assert "set [models] budgets" in reply.message


def test_an_alias_of_nothing_is_refused_with_both_names(board: Board, peer: Peer) -> None:
    board.front.defaults = Defaults({"gate": "mm"})
    reply = peer.ask(*encode(Register(1, "gate", 25.0, 10.0)))
    assert isinstance(reply, Failure)
    assert reply.code is Code.UNKNOWN_MODEL
    assert reply.message.startswith("'gate' stands for 'mm' ([models] aliases): no model 'mm'; did you mean 'm'?")
