"""The thread that owns every decision: it turns the control loop when something happens, and on a slow tick."""

from __future__ import annotations

import queue
import threading
from typing import Final

import structlog

from schedulerd.clock import Clock
from schedulerd.control.courtesy import preempt_nobody
from schedulerd.control.loop import ControlLoop
from schedulerd.control.reloads import LoopEvent

log = structlog.get_logger(__name__)

REST_S: Final = 1.0
"""Between two turns while no app is there: nobody is hurt by what the board does, and an app that comes is an event."""


class ControlThread(threading.Thread):
    """Calls `ControlLoop.turn` with the events that have come in, at least once a tick, or seldom without an app."""

    def __init__(self, events: queue.SimpleQueue[LoopEvent], tick_s: float, clock: Clock) -> None:
        super().__init__(name="control", daemon=True)
        self._events = events
        self.tick_s = tick_s
        self._clock = clock
        self._loop: ControlLoop | None = None
        self._stopped = threading.Event()
        self.alive_at_s = clock.now_s()

    def attach(self, loop: ControlLoop) -> None:
        """The loop to call; before `start`."""
        self._loop = loop

    def beat(self) -> None:
        """The thread is alive, though in the middle of a turn."""
        self.alive_at_s = self._clock.now_s()

    def run(self) -> None:
        """Turn until stopped. A turn that fails is logged, and the next one comes."""
        assert self._loop is not None
        preempt_nobody()
        while not self._stopped.is_set():
            self.beat()
            try:
                patience_s = max(self.tick_s, REST_S) if self._loop.is_at_rest else self.tick_s
                self._loop.turn(self._gather(patience_s))
            except Exception:
                log.exception("control_fault")

    def stop(self) -> None:
        """Leave after the present turn."""
        self._stopped.set()

    def left_over(self) -> list[LoopEvent]:
        """Events that came after the last turn; somebody waits for an answer to each."""
        return self._gather(0.0)

    def _gather(self, patience_s: float) -> list[LoopEvent]:
        """Everything that is waiting, and if that is nothing, the first that comes within `patience_s`."""
        gathered: list[LoopEvent] = []
        try:
            gathered.append(self._events.get(timeout=patience_s))
            while True:
                gathered.append(self._events.get_nowait())
        except queue.Empty:
            return gathered
