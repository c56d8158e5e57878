"""Descriptors that clients send, and a daemon that has none left. Each test counts those of a process of its own."""

from __future__ import annotations

import gc
import os
import resource
import select
from pathlib import Path

from schedulerd.serving.counters import Tally
from schedulerd.serving.handlers import Handlers
from schedulerd.serving.local import LocalPort
from schedulerd.wire.local import ATTACHED, Kind, Place, pack, pack_inline
from schedulerd.wire.messages import Failure, Ping, Pong
from tests.alone import alone
from tests.fakes import PATIENCE_S
from tests.serving.board import Board
from tests.serving.localpeer import LocalPeer, ring_of, unsealed

FLOOD = 300


def descriptors() -> int:
    gc.collect()
    return len([*Path("/proc/self/fd").iterdir()])


def _left_by_a_flood(directory: Path) -> int:
    board = Board(directory)
    peer = LocalPeer(board.endpoints.local)
    good, bad = ring_of().descriptor, unsealed()
    peer.hand_over(good)
    peer.send(Ping(1))
    assert peer.answer() == Pong(1)
    before = descriptors()
    for _ in range(FLOOD):
        peer.hand_over(bad, 2)
        peer.raw(b"".join(pack([Place(0, 99)], [], Kind.RING)), bad)
        peer.infer(5, Place(4, ATTACHED, 10**9), good)
        peer.infer(6, Place(4, ATTACHED, 0), bad)
        peer.infer(7, Place(4, 3, 0), good)
        # A descriptor that nothing lies in, and a ring that takes the place of the one before.
        peer.raw(b"".join(pack([Place(1)], [b"x"])), good)
        peer.hand_over(good)
        assert all(isinstance(peer.answer(), Failure) for _ in range(6))
    for _ in range(FLOOD):
        other = LocalPeer(board.endpoints.local)
        other.hand_over(good)
        other.raw(b"garbage", good)
        assert other.ended()
        other.close()
    peer.send(Ping(8))
    assert peer.answer() == Pong(8)
    left = descriptors() - before
    peer.close()
    board.close()
    return left


def test_a_flood_of_descriptors_leaves_none_behind(tmp_path: Path) -> None:
    assert alone(_left_by_a_flood, tmp_path) == 0


def _seen_when_no_descriptor_is_left(path: Path) -> tuple[object, ...]:
    came: list[bytes] = []
    handlers = Handlers(
        infer=lambda identity, frames: came.append(bytes(frames[0])),
        control=lambda identity, peer, frames: None,
        gone=lambda identity: None,
        unfit=lambda identity, header, code, message: None,
        lost=lambda: None,
    )
    watcher = select.epoll()
    port = LocalPort(path, handlers, Tally(), watcher)
    peer = LocalPeer(path)
    peer.raw(b"".join(pack_inline([b"hello"])))
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    while (filler := os.dup(0)) < highest:
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (filler + 1, hard))
    before = bool(watcher.poll(0))
    port.serve(watcher.poll(0))
    refused, busy = list(came), bool(watcher.poll(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    port.look_after()
    # Who connects, then what it says.
    while not came and (ready := watcher.poll(PATIENCE_S)):
        port.serve(ready)
    port.close()
    watcher.close()
    peer.close()
    return before, refused, busy, came


def test_who_connects_while_no_descriptor_is_left_waits_and_costs_nothing(tmp_path: Path) -> None:
    assert alone(_seen_when_no_descriptor_is_left, tmp_path / "local.sock") == (True, [], False, [b"hello"])
