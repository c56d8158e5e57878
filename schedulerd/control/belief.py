"""Whether what the board seems to do is believed: a worse board at once, a better one after a while. Pure.

Smaller routes often run nearer to their profile than the larger ones that they replace, so a plan can bring about the
very readings that speak against it: each time that a better board was believed in too early, it has to look better for
several times as long before it is believed in again (exponential backoff).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from blockprofiles.contention import Slowdown
from schedulerd.control.correction import Correction, CorrectionSettings, settled
from schedulerd.control.factors import promised


@dataclass(frozen=True, slots=True)
class Belief:
    """How long a board that looks better than planned for has to do so."""

    wait_s: float = 0.0
    """`least_wait_s` at least."""
    better_since_s: float | None = None
    believed_at_s: float = -math.inf
    """When a plan for a better board was made that no worse one has followed yet; -inf where there is none."""


def worse(planned: Slowdown, now: Slowdown, settings: CorrectionSettings) -> bool:
    """Whether the board runs slower than the running plan assumed by more than a step, typically or at its worst."""
    median, p95 = _changes(planned, now)
    return median > 1.0 + settings.step or p95 > 1.0 + settings.step_p95


def watched(before: Belief, planned: Slowdown, now: Correction, settings: CorrectionSettings) -> Belief:
    """The belief after another look at the board."""
    median, p95 = _changes(planned, now.board)
    looks_better = median * (1.0 + settings.step) < 1.0 or p95 * (1.0 + settings.step_p95) < 1.0
    if not looks_better or worse(planned, now.board, settings):
        return replace(before, better_since_s=None)
    return before if before.better_since_s is not None else replace(before, better_since_s=now.at_s)


def better(belief: Belief, now_s: float, settings: CorrectionSettings) -> bool:
    """Whether the board has looked better for long enough."""
    since_s = belief.better_since_s
    return since_s is not None and now_s - since_s >= max(settings.least_wait_s, belief.wait_s)


def believed(belief: Belief, planned: Slowdown, now: Correction, settings: CorrectionSettings) -> Slowdown:
    """The board to plan for: as it is, but no better than was planned for as long as that is not believed.

    Plans are made for other reasons as well, and none of them may take a better board on trust.
    """
    board = settled(now.board)
    if better(belief, now.at_s, settings):
        return board
    return Slowdown(max(planned.median, board.median), max(planned.p95, board.p95))


def replanned(before: Belief, planned: Slowdown, board: Slowdown, now_s: float, settings: CorrectionSettings) -> Belief:
    """The belief after a plan for `board` took the place of one for `planned`."""
    if not worse(planned, board, settings):
        is_better = min(_changes(planned, board)) < 1.0
        return replace(before, better_since_s=None, believed_at_s=now_s) if is_better else before
    wait_s = before.wait_s
    # A load that comes in several steps is one disappointment.
    if math.isfinite(before.believed_at_s):
        too_early = now_s - before.believed_at_s < settings.regret_s
        wait_s = settings.backoff * max(settings.least_wait_s, before.wait_s) if too_early else 0.0
    return Belief(min(wait_s, settings.most_wait_s))


def _changes(planned: Slowdown, now: Slowdown) -> tuple[float, float]:
    """By what typical and promised times are multiplied."""
    return now.median / planned.median, promised(now.p95) / promised(planned.p95)
