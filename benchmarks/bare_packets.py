"""The least that serving over a local socket can cost: an AF_UNIX SOCK_SEQPACKET loop that runs a route inline.

A packet has to fit in the sender's buffer, whose limit (`net.core.wmem_max`) is 212992 bytes where nobody raised it.
So a frame of more than `PIECE_BYTES` goes as several packets, sent as fast as the socket takes them and received one
behind the other into one buffer; both sides know the frame's size. Smaller ones are one packet, as the logits are.

`python -m benchmarks.bare_packets STORE MODEL SOCKET` serves one client after another until its standard input closes.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.bare_route import input_shape, original_chain
from blockstore.assembly import Chain

PIECE_BYTES = 160 * 1024
"""Of 16 to 200 KiB the largest were the quickest for frames of 640x480x3 (0.2 ms a frame, 0.5 at 16 KiB)."""
BUFFER_BYTES = 212992
TIMEOUT_S = 10.0


class Packets:
    """One end of the loop's connection."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        connected.settimeout(TIMEOUT_S)
        self._socket = connected

    def send(self, data: memoryview) -> None:
        """All of `data`, bytes, in packets."""
        for start in range(0, len(data), PIECE_BYTES):
            self._socket.send(data[start : start + PIECE_BYTES])

    def receive_into(self, data: memoryview) -> bool:
        """Fill `data`; whether the other side was still there."""
        start = 0
        while start < len(data):
            size = self._socket.recv_into(data[start : start + PIECE_BYTES])
            if not size:
                return False
            start += size
        return True

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def connected_to(path: Path) -> Packets:
    """A client of the loop at `path`, which may still be loading. Raises OSError where it does not come."""
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connected.connect(str(path))
            return Packets(connected)
        except OSError:
            connected.close()
            if time.monotonic() > until_s:
                raise
            time.sleep(0.01)


def main() -> int:
    """Accept a client, serve it until it goes, accept the next."""
    root, name, path = sys.argv[1:]
    chain = original_chain(Path(root), name)
    frame = np.zeros(input_shape(Path(root), name), np.uint8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        while _readable(listener, sys.stdin):
            connected, _ = listener.accept()
            with connected:
                _serve(connected, chain, frame)
    return 0


def _serve(connected: socket.socket, chain: Chain, frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    packets = Packets(connected)
    into = memoryview(frame).cast("B")
    # Blocking between frames: a poll beforehand would be one call more than the least.
    connected.settimeout(None)
    while packets.receive_into(into):
        packets.send(memoryview(chain.run(frame)).cast("B"))


def _readable(listener: socket.socket, stdin: IO[str]) -> bool:
    """Wait; whether it is a client, and not the end of the input."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, True)
        selector.register(stdin, selectors.EVENT_READ, False)
        return all(key.data for key, _ in selector.select())


if __name__ == "__main__":
    sys.exit(main())
