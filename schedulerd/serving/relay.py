"""One connection that the `Door` passes on: two sockets, and bytes that go both ways, as they are.

A side is read only while the other takes what was read before, so neither can fill our memory.
"""

from __future__ import annotations

import socket
from select import EPOLLIN, EPOLLOUT, epoll
from typing import Final

CHUNK_BYTES: Final = 64 * 1024


class Relay:
    """Two sockets, and the bytes that one of them has given and the other has not yet taken."""

    def __init__(self, listener: int, host: str, outer: socket.socket, inner: socket.socket, watcher: epoll) -> None:
        self.listener = listener
        self.host = host
        self.sides = (outer, inner)
        self._other = {outer.fileno(): inner, inner.fileno(): outer}
        self._side = {outer.fileno(): outer, inner.fileno(): inner}
        self._left = {outer.fileno(): b"", inner.fileno(): b""}
        """For each side, what it is still to be sent."""
        self._watcher = watcher
        for side in self.sides:
            watcher.register(side.fileno(), EPOLLIN)

    def stirred(self, descriptor: int, events: int) -> bool:
        """Pass bytes on; False once either side has ended."""
        try:
            if events & EPOLLOUT:
                self._send(descriptor, self._left[descriptor])
            if events & EPOLLIN:
                return self._pass_on(descriptor)
        except BlockingIOError:
            return True
        except OSError:
            return False
        # Anything else is the end of a side (EPOLLHUP, EPOLLERR), which epoll_ctl(2) tells unasked.
        return not events & ~EPOLLOUT

    def _pass_on(self, descriptor: int) -> bool:
        content = self._side[descriptor].recv(CHUNK_BYTES)
        if content:
            self._send(self._other[descriptor].fileno(), content)
        return bool(content)

    def _send(self, descriptor: int, content: bytes) -> None:
        """Send to a side what it takes; the other is not read before it has taken all."""
        try:
            sent = self._side[descriptor].send(content)
        except BlockingIOError:
            sent = 0
        self._left[descriptor] = content[sent:]
        for side in self.sides:
            number = side.fileno()
            reads = 0 if self._left[self._other[number].fileno()] else EPOLLIN
            self._watcher.modify(number, reads | (EPOLLOUT if self._left[number] else 0))

    def close(self) -> None:
        """Both sides, at once; what the kernel has of them still leaves."""
        for side in self.sides:
            self._watcher.unregister(side.fileno())
            side.close()
