"""Hears the daemon's plans as they are put in place, on a thread of its own, and when."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from schedulerd.scenes.record import AppSeen, PlanSeen
from schedulerd_client import ControlClient, EventStream, SchedulerdClientError

_TURN_S: Final = 0.2
_END_TIMEOUT_S: Final = 5.0


class Listener:
    """Plans that were heard of and not taken yet."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._heard: queue.SimpleQueue[PlanSeen] = queue.SimpleQueue()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def taken(self) -> list[PlanSeen]:
        """Those since the last call, the oldest first."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._heard.get_nowait())
        return found

    def stop(self) -> None:
        """No more of them."""
        self._ends.set()
        self._thread.join(_END_TIMEOUT_S)

    def _listen(self) -> None:
        with suppress(SchedulerdClientError):  # the daemon has gone, which the player sees by itself
            while not self._ends.is_set():
                for event in self._stream:
                    self._heard.put(plan_seen(event.body, time.monotonic()))


@contextmanager
def listening(control: ControlClient) -> Iterator[Listener]:
    """A listener to a daemon's plans, from now to the end of the block."""
    with control.events(("plan",), timeout_s=_TURN_S) as stream:
        listener = Listener(stream)
        try:
            yield listener
        finally:
            listener.stop()


def plan_seen(body: Mapping[str, Any], at_s: float) -> PlanSeen:
    """The body of an event `plan`, or the answer to `plan`."""
    return PlanSeen(
        at_s=at_s,
        number=int(body["number"]),
        cause=str(body["cause"]),
        sentence=str(body["sentence"]),
        swapped=sum(change["swapped_blocks"] > 0 for change in body.get("changes", ())),
        solve_ms=float(body["solve_ms"]),
        apply_ms=float(body["apply_ms"]),
        memory_bytes=float(body["memory_bytes"]),
        memory_limit_bytes=float(body["memory_limit_bytes"]),
        apps={a["app"]: AppSeen(a["accuracy"], a["miss_ms"], tuple(a["route"])) for a in body["apps"]},
    )
