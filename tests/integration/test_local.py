"""The local socket of a real daemon: its clients are in its books as long as they live, and no longer."""

from __future__ import annotations

import functools
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from schedulerd.demo.digits import Frames, held_out
from schedulerd.wire.codec import encode, header_of
from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.local import Place, pack
from schedulerd.wire.messages import Infer, Register, Registered, Result
from tests.integration.daemons import Daemon, until
from tests.serving.localclients import Program
from tests.serving.localpeer import LocalPeer, ring_of, unsealed

MODEL = "digits-residual"


@functools.cache
def scenes() -> Frames:
    return held_out()


def app_with_a_ring(runtime: str) -> tuple[LocalPeer, Place]:
    """A client that has registered as `cam` and handed a ring over with a frame in it."""
    peer = LocalPeer(Endpoints.within(Path(runtime)).local)
    peer.socket.settimeout(60)
    peer.send(Register(1, MODEL, budget_ms=1000.0, rate_hz=10.0, app="cam"))
    assert isinstance(peer.answer(), Registered)
    frame = scenes().images[0]
    ring = ring_of(1 << 20)
    ring.memory[64 : 64 + frame.nbytes] = frame.tobytes()
    peer.hand_over(ring.descriptor)
    return peer, Place(frame.nbytes, 1, 64)


def infer(peer: LocalPeer, message_id: int, place: Place) -> None:
    header = encode(Infer(message_id, (header_of(scenes().images[0]),)))[0]
    peer.raw(b"".join(pack([Place(len(header)), place], [header])))


def streams_without_reading(runtime: str, ready: Connection) -> None:
    """Sends frames until it is killed, and reads no answer."""
    peer, place = app_with_a_ring(runtime)
    for message_id in range(2, 10**9):
        infer(peer, message_id, place)
        if message_id == 1000:
            ready.send("streaming")


def test_a_frame_in_a_ring_is_recognised(daemon: Daemon) -> None:
    peer, place = app_with_a_ring(str(daemon.runtime))
    infer(peer, 2, place)
    reply, (output,) = peer.receive()
    assert isinstance(reply, Result)
    assert int(np.argmax(np.frombuffer(output, np.float32))) == scenes().labels[0]
    peer.close()


def test_a_client_that_floods_reads_nothing_and_is_killed_costs_others_nothing(daemon: Daemon) -> None:
    flooder = Program(streams_without_reading, daemon.runtime)
    with daemon.control() as control:
        assert flooder.said() == "streaming"
        until("a dropped reply", lambda: control.status()["dropped"]["replies"])
        (app,) = control.apps()["apps"]
        assert app["app"] == "cam"
        assert app["refused"]["overloaded"] > 0
        flooder.kill()
        until("the end of the registration", lambda: not control.apps()["apps"])
        peer, place = app_with_a_ring(str(daemon.runtime))
        infer(peer, 2, place)
        assert isinstance(peer.answer(), Result)
        bad = unsealed()
        peer.hand_over(bad, 2)
        assert "seal it" in peer.answer().message
        peer.raw(b"garbage")
        assert peer.ended()
        until("the end of the registration", lambda: not control.apps()["apps"])
        peer.close()
        dropped = control.status()["dropped"]
        assert (dropped["rings"], dropped["packets"], dropped["connections"]) == (1, 1, 0)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_client_is_told_at_once_when_the_daemon_ends(daemon: Daemon, end: str) -> None:
    first, _ = app_with_a_ring(str(daemon.runtime))
    daemon.stop() if end == "stop" else daemon.kill()
    assert first.ended()
    first.close()
    assert Endpoints.within(daemon.runtime).local.exists() == (end == "kill")
    daemon.start()
    peer, place = app_with_a_ring(str(daemon.runtime))
    infer(peer, 2, place)
    assert isinstance(peer.answer(), Result)
    peer.close()
