"""A route in memory: the blocks of one plan's choice for one app, immutable, and pinned while a request runs on it.

The executor takes `LiveApp.route` once, when a request starts; a swap replaces that reference between two requests.
The old route is released when its last request has unpinned it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from blockstore.assembly import LoadedBlock
from schedulerd.plan import Route


@dataclass(frozen=True, slots=True)
class LoadedRoute:
    """One loaded block per block of the model, with what was predicted when the plan was made."""

    route: Route
    blocks: tuple[LoadedBlock, ...]
    plan: int
    """Number of the plan that put this route in place."""
    accuracy: float
    expected_p95_ms: float
    """The profile's sum of the blocks' 95th percentiles, unscaled: what the live timings are compared with."""
    pins: PinCount = field(default_factory=lambda: PinCount(), compare=False)


class PinCount:
    """How many requests run on a route now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def take(self) -> None:
        """A request has started."""
        with self._lock:
            self._count += 1

    def release(self) -> None:
        """A request has ended; raises when none had started."""
        with self._lock:
            if self._count == 0:
                raise RuntimeError("a route was unpinned more often than pinned")
            self._count -= 1

    @property
    def drained(self) -> bool:
        """True when no request runs on the route."""
        return self._count == 0
