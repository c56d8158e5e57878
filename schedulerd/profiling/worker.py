"""The process that measures: `python -m schedulerd.profiling.worker PARENT`, a job on standard input, events out."""

from __future__ import annotations

import os
import sys

from blockprofiles.conditions import fastest_cores
from blockprofiles.events import Done
from schedulerd.profiling.job import Job
from schedulerd.profiling.niceness import stand_back
from schedulerd.profiling.parent import end_with_parent
from schedulerd.profiling.reporter import Reporter, own_output


def main() -> int:
    """Do the job; 0 when it is done. What goes wrong with one blob is told, and the rest goes on."""
    end_with_parent(int(sys.argv[1]))
    descriptor = own_output()
    job = Job.from_json(sys.stdin.buffer.read())
    if job.background:
        stand_back()
    cores = os.sched_getaffinity(0)
    # The cores that a lane would have: before numpy and the engines count them and start threads, which stay there.
    os.sched_setaffinity(0, fastest_cores(job.threads, cores))
    # With the engines' libraries, which take seconds on a small board: after what ends this process with its parent.
    from schedulerd.profiling.measuring import carry_out

    reporter = Reporter(descriptor, job.paths)
    try:
        carry_out(job, reporter, cores)
        reporter.say(Done())
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
