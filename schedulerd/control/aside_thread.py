"""A thread for what would keep the control loop from deciding: answers that take many decisions, files to write."""

from __future__ import annotations

import queue
import threading
from typing import Final

import structlog

from schedulerd.control.aside import Job
from schedulerd.control.courtesy import preempt_nobody
from schedulerd.errors import Overloaded

log = structlog.get_logger(__name__)

ROOM: Final = 8
"""Jobs that may wait."""
_TURN_S: Final = 0.2


class AsideThread(threading.Thread):
    """An `Aside` on a thread of its own, which takes no core from a frame."""

    def __init__(self, name: str = "aside") -> None:
        super().__init__(name=name, daemon=True)
        self._jobs: queue.Queue[Job] = queue.Queue(ROOM)
        self._ended = threading.Event()

    def put(self, job: Job) -> None:
        """As `Aside.put`."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded(f"{ROOM} questions wait already; ask again when they are answered") from None

    def ending(self) -> bool:
        """Whether `close` was called."""
        return self._ended.is_set()

    def run(self) -> None:
        """Work until closed. A job that fails is logged, and the next one comes."""
        preempt_nobody()
        while not self.ending():
            try:
                job = self._jobs.get(timeout=_TURN_S)
            except queue.Empty:
                continue
            try:
                job()
            except Exception:
                log.exception("job_failed")

    def close(self, timeout_s: float) -> None:
        """End after the present job, which learns of it from `ending`; jobs that wait are not done."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout_s)
