"""Messages that libzmq did not take because their client does not read, kept in order for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from schedulerd.serving.counters import Tally
from schedulerd.serving.handlers import Frame
from schedulerd.wire.messages import MAX_TENSOR_BYTES

log = structlog.get_logger(__name__)

BACKLOG: Final = 64
"""Kept for one client, in libzmq and again here; beyond it they are dropped, counted and logged."""
BACKLOG_BYTES: Final = MAX_TENSOR_BYTES
"""What those kept here for one client may come to; there may be one of any size."""


class Backlogs:
    """By client, the messages whose first frame is its identity. For the holder of the gateway's baton."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._kept: dict[bytes, deque[Sequence[Frame]]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._kept

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._kept))

    def keep(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """One more, or one dropped."""
        kept = self._kept.setdefault(identity, deque())
        size_bytes = _size_of(frames) + sum(map(_size_of, kept))
        if len(kept) >= BACKLOG or (kept and size_bytes > BACKLOG_BYTES):
            self._tally.add("replies")
            log.warning("reply_dropped", reason="client does not read", kept=len(kept))
            return
        kept.append(frames)

    def forget(self, identity: bytes) -> None:
        """The client is gone."""
        self._kept.pop(identity, None)

    def retry(self, identity: bytes, send: Callable[[Sequence[Frame]], bool]) -> None:
        """Send what is kept for a client. `send`: False when there is no room yet, and then it has kept the message."""
        kept = self._kept.pop(identity, deque())
        while kept:
            if not send(kept.popleft()):
                self._kept[identity].extend(kept)
                return


def _size_of(frames: Sequence[Frame]) -> int:
    return sum(map(len, frames))
