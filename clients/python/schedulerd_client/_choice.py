"""The shortest way to the daemon: its local socket, or ZeroMQ where it has none.

A daemon from before there was a local socket has only `infer.sock`. Which of the two is there is looked up again for
every connection, because the next daemon may be another version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from schedulerd.wire.endpoints import Endpoints
from schedulerd.wire.envelope import Frame
from schedulerd_client._local import LocalTransport
from schedulerd_client._transport import Incoming, Silence, Transport, ZmqTransport
from schedulerd_client._where import endpoints_of


def transport_to(endpoint: str | Path | None) -> Transport:
    """How a client reaches the inference socket of the daemon at `endpoint`; who names `infer.sock` gets ZeroMQ."""
    endpoints = endpoints_of(endpoint)
    return ZmqTransport(endpoints.infer) if str(endpoint) == endpoints.infer else ChosenTransport(endpoints)


class ChosenTransport:
    """`LocalTransport` or `ZmqTransport`, chosen at every `open`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._infer_path = Path(endpoints.infer.removeprefix("ipc://"))
        self._chosen: LocalTransport | ZmqTransport = self._choice()

    def open(self) -> None:
        """Begin a new connection; whatever the one before had queued is gone."""
        if not self._stands():
            self._chosen.close()
            self._chosen = self._choice()
        self._chosen.open()

    def send(self, frames: Sequence[Frame]) -> None:
        """Queue a message; allowed before the connection stands."""
        self._chosen.send(frames)

    def receive(self, timeout_s: float) -> Incoming:
        """The next message, or what came instead."""
        incoming = self._chosen.receive(timeout_s)
        return self._considered(incoming) if incoming is Silence.ABSENT else incoming

    async def receive_async(self, timeout_s: float) -> Incoming:
        """As `receive`, while the event loop goes on."""
        return self._considered(await self._chosen.receive_async(timeout_s))

    def fault(self) -> str | None:
        """Why no daemon is connected, with the remedy; None when one is."""
        return self._chosen.fault()

    def frame_memory(self, size_bytes: int) -> memoryview:
        """Memory whose bytes travel without a copy, where that can be."""
        if isinstance(self._chosen, LocalTransport):
            return self._chosen.frame_memory(size_bytes)
        return memoryview(bytearray(size_bytes))

    def close(self) -> None:
        """End the connection; right also when it has ended."""
        self._chosen.close()

    def _choice(self) -> LocalTransport | ZmqTransport:
        if self._older_daemon():
            return ZmqTransport(self._endpoints.infer)
        return LocalTransport(self._endpoints.local)

    def _older_daemon(self) -> bool:
        with contextlib.suppress(PermissionError):
            return self._infer_path.exists() and not self._endpoints.local.exists()
        return False

    def _stands(self) -> bool:
        """Whether what was chosen would be chosen again."""
        return isinstance(self._chosen, ZmqTransport) is self._older_daemon()

    def _considered(self, incoming: Incoming) -> Incoming:
        """A connection that can never stand is lost: whoever hears that opens another."""
        return Silence.LOST if incoming is Silence.ABSENT and not self._stands() else incoming
