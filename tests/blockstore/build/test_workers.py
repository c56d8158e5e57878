"""Workers: jobs in real processes, which fail, die and are left alone."""

from __future__ import annotations

import os
from functools import partial

import psutil
import pytest

from blockstore.build.progress import silent
from blockstore.build.workers import Job, run_jobs
from blockstore.errors import CannotBuild
from tests.blockstore.build import jobs


class Stops(Exception):  # what a user does, not an error
    """The user interrupts."""


def workers_left() -> list[str]:
    """Children other than the helper that multiprocessing keeps for itself."""
    lines = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    return [line for line in lines if "resource_tracker" not in line]


def test_progress_is_the_sum_of_all_jobs() -> None:
    seen: list[tuple[str, int, int]] = []
    run_jobs(
        [Job("block 0", partial(jobs.count, 3)), Job("block 1", partial(jobs.count, 4))],
        lambda stage, done, total, note="": seen.append((stage, done, total)),
    )
    assert seen[-1] == ("count", 7, 7)
    assert len(seen) == 7


def test_one_job_runs_in_this_process() -> None:
    seen: list[int] = []
    run_jobs([Job("block 0", lambda progress: seen.append(os.getpid()))], silent)
    assert seen == [os.getpid()]


def test_threads_of_a_process_do_not_spin() -> None:
    seen: list[str] = []
    job = Job("block 0", partial(jobs.environment, "OMP_WAIT_POLICY"))
    run_jobs([job, job], lambda stage, done, total, note="": seen.append(note))
    assert seen == ["PASSIVE", "PASSIVE"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (jobs.refuse, "^block 1: the ratio is 2: at most 1$"),
        (jobs.fail, "^block 1: (?s:.*)ZeroDivisionError: a fault"),
        (jobs.die, "^block 1: its process was ended by SIGKILL, perhaps for want of memory"),
        (jobs.leave, "^block 1: its process ended with exit code 3; give the same command again"),
    ],
)
def test_a_job_that_does_not_end_well_is_named_and_ends_the_others(call: object, message: str) -> None:
    waiting = Job("block 0", jobs.hang)
    with pytest.raises(CannotBuild, match=message):
        run_jobs([waiting, Job("block 1", call)], silent)  # type: ignore[arg-type]  # parametrize knows no types
    assert not workers_left()


def test_an_interrupt_leaves_no_process_behind() -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        raise Stops

    with pytest.raises(Stops):
        run_jobs([Job(f"block {n}", jobs.hang) for n in range(2)], interrupt)
    assert not workers_left()
