"""Which requests run their next block as one batch: pure decisions.

Batches that were measured (`schedulerd profile --batch N`) and pay are in `LoadedRoute.ahead`; nothing is ever joined
on a guess. A batch takes longer than a single frame, though, and whoever would have had its turn sooner must be able to
afford that: the request in hand, those in the batch, and others that wait. Frames that are still to come are not known,
so the longest wait for a block boundary is that for the largest batch which was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schedulerd.serving.job import Job
from schedulerd.serving.urgency import is_refused, longest_s, soonest_s

Batches = tuple[tuple[int, float], ...]
"""`(frames, seconds)` by rising number."""


class Claim(NamedTuple):
    """A request that waits or is about to run."""

    deadline_s: float
    soonest_s: float
    """Time to its answer at best."""
    longest_s: float
    """Time in all blocks that are left, at worst, one frame at a time."""
    joins: bool
    """Whether it is at the block in question."""


def batches_of(job: Job) -> Batches:
    """Batches of the block that a started job comes to, of those that pay: `Ahead.batch_s`.

    None in the middle of its route, unless it has just been in a batch: frames come to be beside each other where they
    begin, and to look for others at every block would cost more than is found. None for a frame that several apps have:
    they share what is computed of it.
    """
    assert job.route is not None, "a job has a route from its start on"
    came_alone = job.next_block > 0 and (job.row is None or job.row.next_block != job.next_block)
    return () if came_alone or job.shared is not None else job.route.ahead[job.next_block].batch_s


def companions(job: Job, waiting: Sequence[Job], now_s: float) -> list[Job]:
    """Those of the jobs that wait, the most urgent first, that are to run their next block together with `job`."""
    assert job.route is not None, "a job has a route from its start on"
    batches = batches_of(job)
    (least, _), (most, _) = batches[0], batches[-1]
    asked: list[Job] = []
    joining: list[Job] = []
    for other in waiting:
        if len(joining) == most - 1:
            # Whoever comes after a whole batch has its turn no later for it: it pays.
            break
        if not is_refused(other, now_s):
            asked.append(other)
            if at_same_block(other, job):
                joining.append(other)
    if 1 + len(joining) < least:
        return []
    claims = [_claim(job, joins=True), *(_claim(other, joins=other in joining) for other in asked)]
    slowdown, single_s = job.app.slowdown, job.route.ahead[job.next_block].single_s
    scaled = tuple((frames, slowdown * seconds) for frames, seconds in batches)
    return joining[: how_many(now_s, slowdown * single_s, scaled, claims) - 1]


def at_same_block(job: Job, other: Job) -> bool:
    """Whether the next block of `job` is the one in memory that `other`, which has started, comes to next."""
    route, theirs, position = job.route or job.app.route, other.route, other.next_block
    if route is None or theirs is None or job.shared is not None or job.next_block != position:
        return False
    return route is theirs or (position < len(route.blocks) and route.blocks[position] is theirs.blocks[position])


def may_join(job: Job, other: Job) -> bool:
    """Whether two jobs that have started can run their next block as one batch."""
    if job.shared is not None or other.shared is not None:
        return False
    same = (job.tensor.shape, job.tensor.dtype) == (other.tensor.shape, other.tensor.dtype)
    return same and at_same_block(job, other)


def how_many(now_s: float, single_s: float, batches: Batches, claims: Sequence[Claim]) -> int:
    """Frames of the batch with the least time a frame that costs nobody its deadline; 1 where there is none.

    Args: now_s; single_s: time of one frame; batches: that pay; claims: the request in hand, then others in the order
    in which they would run.
    """
    joining = sum(claim.joins for claim in claims)
    by_time = sorted((seconds / frames, frames, seconds) for frames, seconds in batches if frames <= joining)
    for _, frames, seconds in by_time:
        if not _costs_a_deadline(now_s, single_s, frames, seconds, claims):
            return frames
    return 1


def largest_of(most: int, batches: Batches) -> int:
    """Frames of the largest of `batches` that has up to `most`; 1 where there is none."""
    return max((frames for frames, _ in batches if frames <= most), default=1)


def _costs_a_deadline(now_s: float, single_s: float, frames: int, seconds: float, claims: Sequence[Claim]) -> bool:
    """Whether somebody who may be in time comes later for the batch, and then too late if all takes its longest."""
    ran, ahead_s = 0, 0.0
    for claim in claims:
        ran += claim.joins and ran < frames
        ahead_s += claim.longest_s
        # By now `ran` single runs of this block would have been done.
        later_s = seconds - ran * single_s
        if later_s <= 0:
            return False
        may_be_in_time = now_s + claim.soonest_s <= claim.deadline_s
        if may_be_in_time and now_s + ahead_s + later_s > claim.deadline_s:
            return True
    return False


def _claim(job: Job, *, joins: bool) -> Claim:
    return Claim(job.deadline_s, soonest_s(job), longest_s(job), joins)
