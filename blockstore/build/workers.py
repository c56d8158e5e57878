"""Workers: jobs of a build in processes of their own.

Processes are spawned: one that is forked after a convolution hangs. They share nothing but files, tell how far they are
through a pipe, and end when the process that started them does, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from blockstore.build.allocator import keep_freed_memory
from blockstore.build.progress import Progress
from blockstore.errors import BlockStoreError, CannotBuild

_LOOK_S: Final = 1.0
"""How long a wait lasts at most."""
_END_S: Final = 5.0
"""How long a process may take to end."""


@dataclass(frozen=True, slots=True)
class Job:
    """`call(progress)` works on what `title` says."""

    title: str
    call: Callable[[Progress], None]
    """Goes to another process: a function that can be imported, or a `partial` of one with plain values."""


def run_jobs(jobs: Sequence[Job], progress: Progress) -> None:
    """Run all `jobs` at the same time, a single one in this process; `progress` is told their sums.

    Raises `CannotBuild`, with the title of the job, where one fails or its process dies; the others are ended then.
    """
    sums = _Sums(progress)
    if len(jobs) == 1:
        jobs[0].call(sums.of(0))
        return
    # Read when the OpenMP library is loaded. Threads that spin while they wait take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    workers: list[_Worker] = []
    try:
        for number, job in enumerate(jobs):
            workers.append(_Worker(job, sums.of(number)))
        _attend(workers)
    finally:
        for worker in workers:
            worker.end()


def _attend(workers: Sequence[_Worker]) -> None:
    """Until every worker is done; raises for the first that fails."""
    while waiting := [w for w in workers if not w.is_done]:
        for ready in wait([w.connection for w in waiting], timeout=_LOOK_S):
            next(w for w in waiting if w.connection is ready).hear()


class _Worker:
    """A process and this end of its pipe."""

    def __init__(self, job: Job, progress: Progress) -> None:
        context = multiprocessing.get_context("spawn")
        self._job = job
        self._progress = progress
        self.is_done = False
        self.connection, theirs = context.Pipe(duplex=False)
        self._process: SpawnProcess = context.Process(target=_work, args=(theirs, job.call), daemon=True)
        self._process.start()
        # The child has a copy: with this one closed, the end of the child is the end of the pipe.
        theirs.close()

    def hear(self) -> None:
        """Take one message."""
        try:
            kind, *content = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise CannotBuild(f"{self._job.title}: {self._death()}") from None
        if kind == "progress":
            self._progress(*content)
        elif kind == "failed":
            raise CannotBuild(f"{self._job.title}: {content[0]}")
        else:
            self.is_done = True

    def end(self) -> None:
        """Let nothing of it stay: what it keeps on disk is whole at any moment."""
        if self.is_done:
            self._process.join(_END_S)
        self._process.kill()
        self._process.join(_END_S)
        self.connection.close()
        self._process.close()

    def _death(self) -> str:
        self._process.join(_END_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return (
                f"its process was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}. "
                "Give the same command again to go on, with fewer processes if memory is short"
            )
        return f"its process ended with exit code {code}; give the same command again to go on"


def _work(connection: Connection, call: Callable[[Progress], None]) -> None:
    """What a process runs."""
    # A key press reaches all processes of a terminal; the one that started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    keep_freed_memory()

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        connection.send(("progress", stage, done, total, note))

    try:
        call(progress)
    except BlockStoreError as error:
        connection.send(("failed", str(error)))
    # Whatever it is, it is told where somebody sees it.
    except Exception:
        connection.send(("failed", traceback.format_exc()))
    else:
        connection.send(("done",))


def _follow_parent() -> None:
    """End this process when the one that started it has vanished: nobody would take its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while not wait([parent.sentinel], timeout=_LOOK_S):
        pass
    os._exit(1)


class _Sums:
    """How far all jobs are together, stage by stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._latest: dict[str, dict[int, tuple[int, int, str]]] = {}

    def of(self, job: int) -> Progress:
        """What job number `job` tells its progress to."""

        def update(stage: str, done: int, total: int, note: str = "") -> None:
            latest = self._latest.setdefault(stage, {})
            latest[job] = (done, total, note)
            parts = list(latest.values())
            self._progress(stage, sum(p[0] for p in parts), sum(p[1] for p in parts), note)

        return update
