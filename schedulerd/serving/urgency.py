"""Which request goes first: pure judgements on single jobs, of which `waiting` makes an order.

Earliest deadline first is optimal for one lane as long as all deadlines can be kept (Liu and Layland, "Scheduling
algorithms for multiprogramming in a hard-real-time environment", 1973, section 7), and collapses when they cannot:
what is late already has the earliest deadline, goes first, and makes the next one late. So what cannot be in time any
more steps aside for what can. That is what is taken from Buttazzo and Stankovic, "RED: robust earliest deadline
scheduling" (1993): a second queue, by value, of what was put off, from which one is taken back when the first is empty.
Their test at arrival, whether all deadlines in the queue can be kept with the new task in it, is not here: it goes
through the whole queue, and needs worst-case times. A request is late here only when it is so by itself.
"""

from __future__ import annotations

from typing import Final

from schedulerd.serving.job import Job

STARVED_S: Final = 1.0
"""Waiting for this long without a block, a request goes first whatever its deadline and priority: see `waiting`."""

Rank = tuple[float, float]
"""Of two jobs of one kind the lower goes first."""


def late_rank(job: Job) -> Rank:
    """Of those that cannot be in time: by priority, then by deadline."""
    return -job.app.spec.priority, job.deadline_s


def is_late(job: Job, now_s: float) -> bool:
    """Whether a job cannot be in time any more, even if it goes on at once and alone."""
    return now_s + soonest_s(job) > job.deadline_s


def is_refused(job: Job, now_s: float) -> bool:
    """Whether starting a job would refuse it: it is to be dropped when it is late, and has not begun."""
    return job.app.spec.late == "drop" and job.route is None and is_late(job, now_s)


def soonest_s(job: Job) -> float:
    """The profile's typical time from here to the first answer there may be, as slow as the board is now."""
    app, route = job.app, job.route
    if route is not None:
        return app.slowdown * route.ahead[job.next_block].soonest_s
    at_present = app.route  # once, for the control loop may take it away meanwhile
    return 0.0 if at_present is None else app.slowdown * at_present.soonest_s


def longest_s(job: Job) -> float:
    """The profile's 95th percentile of all blocks that are left, without the heads of exits, on the present board."""
    route = job.route or job.app.route
    return 0.0 if route is None else job.app.slowdown * route.ahead[job.next_block].longest_s
