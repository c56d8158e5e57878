"""Real handshakes over loopback: who is let in, who is not, what each may do, and who notices nothing of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import zmq

from schedulerd.serving.curve import REQUESTS_A_SECOND, REQUESTS_AT_ONCE
from schedulerd.serving.operators import Operators, Remote
from schedulerd.serving.topics import LONGEST_BYTES, MOST
from schedulerd.wire.codec import encode
from schedulerd.wire.keys import Pair
from schedulerd.wire.messages import Answer, Code, Failure, Infer, Ping, Pong, Reload, SetLimit, Status, TensorHeader
from tests.fakes import PATIENCE_S, FakeClock
from tests.serving.board import Board, Peer
from tests.serving.remotes import ANNA, BOB, EVE, OPERATORS, SERVER, RemoteBoard, RemotePeer

SUCCEEDED = zmq.EVENT_HANDSHAKE_SUCCEEDED
MISMATCH = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
"""Both sides see that they mean different things; whoever is first ends it, and the other hears no reason."""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[RemoteBoard]:
    with RemoteBoard(tmp_path) as made:
        yield made


def let_in(board: RemoteBoard, own: Pair, name: bytes = b"peer") -> RemotePeer:
    peer = RemotePeer(board.control, own, name=name)
    assert peer.connect() == SUCCEEDED
    return peer


def until(what: str, holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, what
        threading.Event().wait(0.005)


def test_whoever_has_a_key_that_is_known_is_answered(board: RemoteBoard) -> None:
    for own in (ANNA, BOB):
        peer = let_in(board, own)
        assert peer.ask(*encode(Status(7))) == Answer(7, {"asked": "Status"})
        peer.close()


def test_a_key_that_nobody_knows_is_refused_and_told(board: RemoteBoard) -> None:
    with structlog.testing.capture_logs() as logs:
        peer = RemotePeer(board.control, EVE)
        assert peer.connect() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        peer.close()
        # The next one is ruled on, so the log of the one before is written.
        let_in(board, ANNA).close()
    assert not board.asked
    assert any(log["event"] == "remote_operator" and log["operator"] == "anna" for log in logs)


def test_no_key_at_all_is_refused_and_so_is_a_password(board: RemoteBoard) -> None:
    bare = RemotePeer(board.control, None)
    assert bare.connect() in MISMATCH
    bare.close()
    plain = RemotePeer(board.control, None)
    plain.socket.plain_username, plain.socket.plain_password = b"anna", b"anna"
    assert plain.connect() in MISMATCH
    plain.close()
    assert not board.asked


def test_whoever_takes_another_for_the_daemon_is_not_let_in(board: RemoteBoard) -> None:
    peer = RemotePeer(board.control, ANNA, server=EVE.public)
    assert peer.connect() == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    peer.close()


def test_the_sockets_behind_the_door_ask_for_keys_too_and_are_for_this_user_alone(
    board: RemoteBoard, tmp_path: Path
) -> None:
    paths = [tmp_path / "remote0.sock", tmp_path / "remote1.sock"]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]
    for path in paths:
        peer = RemotePeer(f"ipc://{path}", None)
        assert peer.connect() in MISMATCH
        peer.close()


def test_events_are_for_those_who_are_let_in(board: RemoteBoard) -> None:
    with zmq.Context() as context:
        listener = context.socket(zmq.SUB)
        listener.linger = 0
        listener.curve_serverkey = SERVER.public.encode()
        listener.curve_publickey, listener.curve_secretkey = BOB.public.encode(), BOB.secret.encode()
        listener.subscribe("plan")
        listener.connect(board.events)
        while not listener.poll(10):
            board.port.publish([b"plan", b"body"])
        assert listener.recv_multipart() == [b"plan", b"body"]
        listener.close()
    stranger = RemotePeer(board.events, EVE, kind=zmq.SUB)
    assert stranger.connect() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    stranger.close()


@pytest.mark.parametrize(
    "topics",
    [[bytes(100_000)], [bytes(LONGEST_BYTES + 1)], [b"%d" % number for number in range(MOST + 1)]],
    ids=["huge", "long", "many"],
)
def test_a_listener_fills_no_memory_with_topics_and_others_come_back(board: RemoteBoard, topics: list[bytes]) -> None:
    listener = RemotePeer(board.events, BOB, kind=zmq.SUB)
    assert listener.connect() == SUCCEEDED
    for topic in topics:
        listener.socket.subscribe(topic)
    assert listener.heard() == zmq.EVENT_DISCONNECTED
    listener.close()
    again = RemotePeer(board.events, ANNA, kind=zmq.SUB)
    for topic in (b"", *(b"%d" % number for number in range(20))):
        again.socket.subscribe(topic)
    assert again.connect() == SUCCEEDED
    while not again.socket.poll(10):
        board.port.publish([b"plan", b"body"])
    assert again.socket.recv_multipart() == [b"plan", b"body"]
    again.close()


def test_a_key_that_may_look_changes_nothing_and_one_in_control_does(board: RemoteBoard) -> None:
    bob, anna = let_in(board, BOB, b"bob"), let_in(board, ANNA, b"anna")
    with structlog.testing.capture_logs() as logs:
        for edit in (SetLimit(2, "memory", 10**9), Reload(3)):
            refused = bob.ask(*encode(edit))
            assert isinstance(refused, Failure)
            assert (refused.id, refused.code) == (edit.id, Code.NOT_PERMITTED)
            assert "'bob' may look, and change nothing; add the name to [remote] control" in refused.message
        assert anna.ask(*encode(SetLimit(2, "memory", 10**9))) == Answer(2, {"asked": "SetLimit"})
    assert [type(request).__name__ for request in board.asked] == ["SetLimit"]
    (edited,) = (log for log in logs if log["event"] == "remote_edit")
    assert (edited["operator"], edited["request"]) == ("anna", "SetLimit")
    assert board.board.front.refused[Code.NOT_PERMITTED] == 2
    bob.close()
    anna.close()


def test_local_operators_go_on_by_their_user_id(board: RemoteBoard) -> None:
    local = Peer(board.board.endpoints.control)
    assert local.ask(*encode(SetLimit(2, "memory", 10**9))) == Answer(2, {"asked": "SetLimit"})
    board.board.front.control_users = frozenset({4_000_000})
    refused = local.ask(*encode(Status(3)))
    assert isinstance(refused, Failure)
    assert "control_users" in refused.message
    # The daemon's own user is at the other end of the socket behind the door, and that opens nothing.
    remote = let_in(board, BOB)
    assert isinstance(remote.ask(*encode(SetLimit(2, "memory", 1))), Failure)
    assert remote.ask(*encode(Status(3))) == Answer(3, {"asked": "Status"})
    local.close()
    remote.close()


def test_a_name_that_a_remote_operator_has_is_no_way_to_his_answers(board: RemoteBoard) -> None:
    remote, local = let_in(board, ANNA, b"same"), Peer(board.board.endpoints.control, b"same")
    for number in range(1, 4):
        assert local.ask(*encode(Status(number))).id == number
        assert remote.ask(*encode(Status(10 + number))).id == 10 + number
    assert not remote.socket.poll(0)
    assert not local.socket.poll(0)
    remote.close()
    local.close()


def test_an_answer_for_another_machine_never_goes_to_the_control_socket(tmp_path: Path) -> None:
    board = Board(tmp_path)
    local = Peer(board.endpoints.control, b"same")
    with pytest.raises(AssertionError, match="attach"):
        board.gateway.answer(Remote(b"same"), encode(Answer(1, {})))
    assert isinstance(local.ask(*encode(Ping(2))), Pong)
    assert not local.socket.poll(0)
    local.close()
    board.close()


def test_an_app_is_sent_to_the_machine_itself(board: RemoteBoard) -> None:
    anna = let_in(board, ANNA)
    refused = anna.ask(*encode(Infer(2, (TensorHeader("uint8", (2, 2)),)), b""))
    assert isinstance(refused, Failure)
    anna.close()


def test_messages_that_are_none_are_answered_and_the_next_one_too(board: RemoteBoard) -> None:
    anna = let_in(board, ANNA)
    for frames in ([b""], [b"\xc1"], [b"x" * 70_000], [b"a"] * 40, [*encode(Status(1)), b"more"]):
        reply = anna.ask(*frames)
        assert isinstance(reply, Failure), frames
    assert anna.ask(*encode(Status(9))) == Answer(9, {"asked": "Status"})
    anna.close()


def test_a_frame_over_all_limits_ends_that_connection_alone(board: RemoteBoard) -> None:
    anna, bob = let_in(board, ANNA), let_in(board, BOB, b"other")
    anna.socket.send(b"x" * 1_000_000)
    assert anna.heard() == zmq.EVENT_DISCONNECTED
    assert bob.ask(*encode(Status(9))).id == 9
    anna.close()
    bob.close()


def test_whoever_is_no_longer_known_is_out_at_once_and_stays_out(board: RemoteBoard) -> None:
    anna, bob = let_in(board, ANNA), let_in(board, BOB, b"other")
    listener = RemotePeer(board.events, BOB, kind=zmq.SUB)
    assert listener.connect() == SUCCEEDED
    board.port.admit(Operators({ANNA.public: "anna"}, frozenset({"anna"})))
    assert listener.heard() == zmq.EVENT_DISCONNECTED
    refused = bob.ask(*encode(Status(1)))
    assert isinstance(refused, Failure)
    assert refused.code is Code.NOT_PERMITTED
    assert anna.ask(*encode(Reload(1))) == Answer(1, {"asked": "Reload"})
    again = RemotePeer(board.control, BOB)
    assert again.connect() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    for peer in (anna, bob, again, listener):
        peer.close()


def test_who_is_added_and_who_may_control_changes_without_ending_a_connection(board: RemoteBoard) -> None:
    bob = let_in(board, BOB)
    board.port.admit(Operators({**OPERATORS.names, EVE.public: "eve"}, frozenset({"bob"})))
    assert bob.ask(*encode(Reload(1))) == Answer(1, {"asked": "Reload"})
    eve = let_in(board, EVE, b"other")
    assert isinstance(eve.ask(*encode(Reload(1))), Failure)
    bob.close()
    eve.close()


def test_a_flood_of_wrong_keys_is_told_a_few_times_and_local_operators_are_answered(board: RemoteBoard) -> None:
    local = Peer(board.board.endpoints.control)
    with structlog.testing.capture_logs() as logs:
        strangers = [RemotePeer(board.control, EVE) for _ in range(18)]
        for number, stranger in enumerate(strangers, 1):
            stranger.socket.connect(stranger.endpoint)
            assert local.ask(*encode(Status(number))).id == number
        assert {stranger.heard() for stranger in strangers} == {zmq.EVENT_HANDSHAKE_FAILED_AUTH}
        let_in(board, ANNA).close()
    refused = [log for log in logs if log["event"] == "remote_refused"]
    assert len(refused) == 1
    assert (refused[0]["reason"], refused[0]["lately_from"]) == ("its key is not allowed", ["127.0.0.1"])
    local.close()
    for stranger in strangers:
        stranger.close()


def test_who_asks_without_end_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    """A key that may only look: what it asks beyond the pace waits outside of the daemon."""
    clock = FakeClock()
    with RemoteBoard(tmp_path, clock=clock) as board:
        bob, local = let_in(board, BOB, b"bob"), Peer(board.board.endpoints.control)
        for number in range(1, REQUESTS_AT_ONCE + 300):
            bob.socket.send_multipart(encode(Status(number)))
        until("as many as may be", lambda: len(board.asked) >= REQUESTS_AT_ONCE)
        # Handshakes are the same thread's: it has come round since.
        let_in(board, ANNA, b"anna").close()
        assert local.ask(*encode(Reload(1))) == Answer(1, {"asked": "Reload"})
        assert len(board.asked) == REQUESTS_AT_ONCE + 1
        clock.advance(100 / REQUESTS_A_SECOND)
        until("those of the next second", lambda: len(board.asked) >= REQUESTS_AT_ONCE + 101)
        let_in(board, ANNA, b"anna").close()
        assert len(board.asked) == REQUESTS_AT_ONCE + 101
        bob.close()
        local.close()


def test_an_answer_leaves_before_the_daemon_does(tmp_path: Path) -> None:
    with RemoteBoard(tmp_path) as board:
        anna = let_in(board, ANNA)
        assert anna.ask(*encode(Status(1))).id == 1
        board.port.answer(Remote(b"peer"), encode(Answer(2, {"last": "words"})))
    assert anna.answer() == Answer(2, {"last": "words"})
    assert anna.heard() == zmq.EVENT_DISCONNECTED
    anna.close()


def test_closing_twice_and_without_a_start_is_right(tmp_path: Path) -> None:
    with RemoteBoard(tmp_path) as board:
        board.port.close(PATIENCE_S)
    assert not list(tmp_path.glob("remote*.sock"))
