"""Programs that are clients, for tests that stop and kill them. Each says on its pipe when it has got so far."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from schedulerd.wire.codec import encode
from schedulerd.wire.local import Place
from schedulerd.wire.messages import Register
from tests.fakes import PATIENCE_S
from tests.serving.board import Peer
from tests.serving.localpeer import ZEROS, LocalPeer, ring_of


class Program:
    """A process that runs `client(endpoint, ready)`."""

    def __init__(self, client: Callable[[str, Connection], None], endpoint: str | Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=client, args=(str(endpoint), theirs))
        self._process.start()

    def said(self) -> Any:
        """The next thing that it says."""
        assert self.pipe.poll(60), "the client says nothing"
        return self.pipe.recv()

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.join()

    def join(self) -> int | None:
        """Its exit code."""
        self._process.join(PATIENCE_S)
        return self._process.exitcode


def runs_a_frame_in_a_ring(endpoint: str, ready: Connection) -> None:
    """Registers, hands a ring over and sends a frame that lies in it; then it waits for the end of the connection."""
    peer = LocalPeer(Path(endpoint))
    peer.socket.settimeout(None)
    peer.register()
    ready.send("registered")
    ready.recv()
    ring = ring_of()
    peer.hand_over(ring.descriptor)
    peer.infer(2, Place(ZEROS.nbytes, 1, 64))
    ready.send("sent")
    peer.ended()
    ready.send("ended")


def registers(endpoint: str, ready: Connection) -> None:
    """Registers over ZeroMQ and waits for what never comes."""
    peer = Peer(endpoint, b"program")
    peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0)))
    ready.send("registered")
    ready.recv()
