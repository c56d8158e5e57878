"""Policies: the search for which exits to enable with which thresholds, on what the exits have seen. Pure.

Two questions are answered. `by_precision`: the lowest thresholds from which each exit is as good as the whole network,
or 99% as good (MXN, section 5.2.3). `cheapest` and `most_accurate`: the least expected cost at a wanted accuracy, and
the best accuracy at a wanted expected cost, over all exits together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from blockstore.build.exits.descent import DECIMALS, OFF, Thresholds, best
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.seen import Floats, Seen

LEAST_LEAVING: Final = 20
"""Frames that must leave for a precision to mean anything."""
ROUNDING: Final = 1e-9
"""By which sums of the same numbers may differ."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy does to the frames seen."""

    shares: tuple[float, ...]
    """Of the frames, leaving at each exit, then at the end."""
    accuracy: float
    cost: float
    """Of a frame, on average, in the unit of the costs; heads that are evaluated included."""


def outcome(seen: Seen, costs: Costs, thresholds: Sequence[float]) -> Outcome:
    """Run the policy over all that was seen."""
    inside = np.ones(seen.worth.shape[1], dtype=bool)
    shares, cost, right, behind = [], 0.0, 0.0, 0.0
    for exit_, threshold in enumerate(thresholds):
        if threshold == OFF:
            shares.append(0.0)
            continue
        cost += float(inside.mean()) * (costs.upto[exit_] - behind + costs.heads[exit_])
        behind = costs.upto[exit_]
        leaves = inside & (seen.confidence[exit_] >= threshold)
        shares.append(float(leaves.mean()))
        right += float(seen.worth[exit_][leaves].sum())
        inside = inside & ~leaves
    cost += float(inside.mean()) * (costs.whole - behind)
    right += float(seen.worth[-1][inside].sum())
    return Outcome((*shares, float(inside.mean())), right / len(inside), cost)


def by_precision(seen: Seen, precision: float) -> Thresholds:
    """For each exit the lowest threshold above which those that leave are right `precision` times as often as in full.

    Each exit is judged on the frames that the exits before it have left over. `OFF` where no threshold does.
    """
    inside = np.ones(seen.worth.shape[1], dtype=bool)
    found: list[float] = []
    for confidence, worth in zip(seen.confidence, seen.worth[:-1], strict=True):
        threshold = _precise(confidence[inside], worth[inside], seen.worth[-1][inside], precision)
        found.append(threshold)
        inside = inside & ~(confidence >= threshold)
    return tuple(found)


def _precise(confidence: Floats, worth: Floats, full: Floats, precision: float) -> float:
    # In steps of what a threshold can be; what is no number is never sure.
    steps = 10**DECIMALS
    sure = np.floor(np.where(np.isnan(confidence), 0.0, confidence) * steps + 1e-9) / steps
    order = np.argsort(-sure, kind="stable")
    lead = np.cumsum(worth[order] - precision * full[order])
    counts = np.arange(1, len(order) + 1)
    ordered = sure[order]
    # A threshold takes all frames of its confidence: only the last of equals can be the end. 0 would take everything.
    ends = np.append(ordered[1:] < ordered[:-1], True)[: len(order)]
    good = (lead >= 0) & (counts >= LEAST_LEAVING) & ends & (ordered > 0)
    return float(ordered[np.flatnonzero(good)[-1]]) if good.any() else OFF


def cheapest(seen: Seen, costs: Costs, least_accuracy: float, nobody: float = OFF) -> Thresholds:
    """Thresholds of the least expected cost whose accuracy is at least that; all `nobody` where nothing is cheaper so.

    With `IDLE` for `nobody`, every head is evaluated, as in BranchyNet, whether or not a frame leaves there.
    """

    def loss(accuracy: Floats, cost: Floats) -> Floats:
        return np.where(accuracy >= least_accuracy - ROUNDING, cost, np.inf)

    _, thresholds = best(seen, costs, loss, nobody)
    return thresholds


def most_accurate(seen: Seen, costs: Costs, most_cost: float) -> Thresholds | None:
    """Thresholds of the best accuracy whose expected cost is at most that; None where none was found as cheap."""

    def loss(accuracy: Floats, cost: Floats) -> Floats:
        return np.where(cost <= most_cost * (1 + ROUNDING), -accuracy, np.inf)

    least, thresholds = best(seen, costs, loss)
    return thresholds if least < np.inf else None
