"""What listeners on other machines want to hear of, and when it is too much. Pure.

libzmq keeps topics for each listener in a tree with a node a byte, about fifty times what was sent: a key that may only
look could fill the memory of a board with a few megabytes.
"""

from __future__ import annotations

from typing import Final

LONGEST_BYTES: Final = 64
MOST: Final = 256
"""Of all listeners together, each topic once; a daemon has about twenty kinds of events."""


class Topics:
    """Those that somebody listens to."""

    def __init__(self) -> None:
        """Nobody listens."""
        self._heard: set[bytes] = set()

    def heed(self, message: bytes) -> bool:
        """Take in what a socket of type XPUB says (zmq_socket(3)); False where it is too much."""
        verb, topic = message[:1], message[1:]
        if verb == b"\0":
            self._heard.discard(topic)
        if verb != b"\1":
            return True
        if len(topic) > LONGEST_BYTES:
            return False
        self._heard.add(topic)
        return len(self._heard) <= MOST
