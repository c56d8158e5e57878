"""Cost against accuracy of one method: thresholds chosen on held-back images for several losses, measured on others.

What a threshold search promises of the images it has seen, it does not quite keep on others. So methods are compared
where they lose the same on the test images: between two points of such a front the cost is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.exits_study import Heads
from blockstore.build.exits.descent import OFF, Thresholds
from blockstore.build.exits.policies import ROUNDING, Outcome, cheapest, outcome

ASKED = 0.005
"""Loss of accuracy that a user would allow; times are measured with the thresholds for that."""
DROPS = (-0.012, -0.008, -0.004, -0.002, 0.0, 0.002, ASKED, 0.008)
"""Of accuracy, that are allowed on the held-back images. Below 0 exits and end together must do better there than the
end alone: exits are right where it is not, and on other images less of that is left."""


@dataclass(frozen=True, eq=False)
class Point:
    """One choice of thresholds."""

    allowed: float
    """One of `DROPS`."""
    heads: Heads
    thresholds: Thresholds
    held_back: Outcome
    test: Outcome

    @property
    def drop(self) -> float:
        """What the test images lose."""
        return self.heads.test.full_accuracy - self.test.accuracy


def front(heads: Heads, nobody: float = OFF) -> list[Point]:
    """A point for each of `DROPS` that can be had; `nobody` is the threshold of exits that no frame is to take."""
    full = heads.held_back.full_accuracy
    found = []
    for drop in DROPS:
        thresholds = cheapest(heads.held_back, heads.costs, full - drop, nobody)
        seen = (outcome(images, heads.costs, thresholds) for images in (heads.held_back, heads.test))
        point = Point(drop, heads, thresholds, *seen)
        if point.held_back.accuracy >= full - drop - ROUNDING:
            found.append(point)
    return found


def asked(points: Sequence[Point]) -> Point:
    """The point that a user would get."""
    return next(p for p in points if p.allowed == ASKED)


def at_drop(points: Sequence[Point], drop: float, whole: float) -> float:
    """The cost at which the test images lose `drop`: between the dearest point that loses more and one that loses less.

    No exits at all, which cost `whole`, lose nothing; of a method that never loses so much the cheapest point.
    """
    rows = sorted([(0.0, whole), *((p.drop, p.test.cost) for p in points)])
    # The lower envelope: what loses more has to be cheaper.
    envelope: list[tuple[float, float]] = []
    for lost, cost in rows:
        if lost <= 0.0 and envelope:
            envelope = [(0.0, min(cost, envelope[0][1]))]
        elif not envelope or cost < envelope[-1][1]:
            envelope.append((max(0.0, lost), cost))
    for (low, dear), (high, cheap) in pairwise(envelope):
        if low <= drop <= high:
            return dear + (drop - low) / (high - low) * (cheap - dear) if high > low else cheap
    return envelope[-1][1]


def samples_of(points: Sequence[Point], whole: float) -> dict[str, list[float]]:
    """What stands behind a figure."""
    chosen = asked(points)
    return {
        "drops": [100 * p.drop for p in points],
        "costs": [p.test.cost / whole for p in points],
        "blocks": [float(learner.block) for learner in chosen.heads.learners],
        "shares": list(chosen.test.shares),
        "heads": [cost / whole for cost in chosen.heads.costs.heads],
        "accuracy_alone": [100 * float(row.mean()) for row in chosen.heads.test.worth],
        "temperatures": list(chosen.heads.temperatures),
    }
