"""The process of a trial: `python -m schedulerd.merging.worker PARENT`, a job on standard input, events out.

A process of its own, because it needs the package `onnx`, which a daemon does without, and because a graph that crashes
or hangs in a native library must take nothing with it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from blockprofiles.conditions import fastest_cores
from blockstore.errors import BlockStoreError
from schedulerd.merging.events import ALIVE, impossible_line, tried_line
from schedulerd.merging.verdict import TrialJob
from schedulerd.profiling.niceness import stand_back
from schedulerd.profiling.parent import end_with_parent
from schedulerd.profiling.reporter import own_output

ALIVE_EVERY_S: Final = 1.0


def main() -> None:
    """Make one trial, on the cores that a lane would have, and tell what comes of it."""
    end_with_parent(int(sys.argv[1]))
    stand_back()
    descriptor = own_output()
    job = TrialJob.from_json(sys.stdin.buffer.read())
    # Before the engine starts threads, which stay where their first one was.
    os.sched_setaffinity(0, fastest_cores(job.threads, os.sched_getaffinity(0)))
    os.write(descriptor, _outcome(job, _signs_of_life(descriptor)))


def _outcome(job: TrialJob, alive: Callable[[], None]) -> bytes:
    """The last line: a few hundred bytes for each run, which a pipe takes whole."""
    try:
        # With the engine's library, which takes seconds on a small board: after what ends this process with its parent.
        import onnx  # noqa: F401 - asked for at once, not after everything has been loaded

        from schedulerd.merging.trial import tried
        from schedulerd.serving.engines.onnx import OnnxEngine

        return tried_line(tried(job, OnnxEngine(job.threads), time.perf_counter, alive))
    except ModuleNotFoundError as error:
        return impossible_line(f"the package {error.name} is not installed: pip install 'schedulerd[build]'")
    except (BlockStoreError, OSError) as error:
        return impossible_line(f"the merged graph cannot be kept: {error}")


def _signs_of_life(descriptor: int) -> Callable[[], None]:
    told_s = -ALIVE_EVERY_S

    def alive() -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= ALIVE_EVERY_S:
            told_s = time.monotonic()
            os.write(descriptor, ALIVE)

    return alive


if __name__ == "__main__":
    main()
