"""How often something was refused or dropped at the sockets, for operators to see."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal, NamedTuple, get_args

Kind = Literal["replies", "connections", "rings", "packets"]


class Dropped(NamedTuple):
    """Counts since the daemon started."""

    replies: int = 0
    """To clients that do not read them."""
    connections: int = 0
    """Beyond as many as the local socket serves."""
    rings: int = 0
    """Handed over in memory that may not be mapped."""
    packets: int = 0
    """That are none, or whose frames lie where nothing is."""


class Tally:
    """Counts up, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Kind] = Counter()

    def add(self, kind: Kind) -> None:
        """One more."""
        with self._lock:
            self._counts[kind] += 1

    def dropped(self) -> Dropped:
        """The counts now."""
        with self._lock:
            return Dropped(*(self._counts[kind] for kind in get_args(Kind)))
