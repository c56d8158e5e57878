"""The search for the best thresholds of all exits together: one or two exits at a time, from many places. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.seen import Floats, Seen

OFF: Final = math.inf
"""Threshold of an exit that is not enabled."""
IDLE: Final = 2.0
"""Threshold of an exit whose head is evaluated although nobody leaves there."""
DECIMALS: Final = 4
"""Of a threshold."""
GRID: Final = 40
"""Thresholds that are tried at each exit: quantiles of the confidences."""
SWEEPS: Final = 8
PRICES: Final = tuple(10 ** (2.5 - 0.15 * step) for step in range(20))
"""What an accuracy of 1 is worth, in whole backbones: from 316, where 0.1 points pay for a third of one, to 0.4."""

Thresholds = tuple[float, ...]
"""For each exit; `OFF` where it is not enabled."""
Loss = Callable[[Floats, Floats], Floats]
"""Accuracies and costs of some policies, to what is to be least: infinite where one is not allowed."""


def best(seen: Seen, costs: Costs, loss: Loss, nobody: float = OFF) -> tuple[float, Thresholds]:
    """The least loss that was found, and its thresholds.

    `nobody` is the threshold of an exit that no frame is to take, `OFF` or `IDLE`.

    Coordinate descent ends in the next hollow: it begins at every policy that is the best for some price of accuracy,
    and where the best of them ended, exits are tried in pairs.
    """
    grids = [_grid(confidence, nobody) for confidence in seen.confidence]
    ends = (_descend(seen, costs, start, grids, loss) for start in _front(seen, costs, grids))
    least, thresholds = min(ends, key=lambda end: end[0])
    for _ in range(SWEEPS):
        before = least
        for pair in combinations(range(len(grids)), 2):
            least, thresholds = min(
                (least, thresholds), _of_two(seen, costs, thresholds, pair, grids, loss), key=lambda end: end[0]
            )
        if least == before:
            break
    return least, thresholds


def _front(seen: Seen, costs: Costs, grids: Sequence[Floats]) -> Iterator[Thresholds]:
    """Policies from the dearest, where nobody leaves, to the cheapest."""
    thresholds: Thresholds = tuple(float(grid[-1]) for grid in grids)
    yield thresholds
    for price in PRICES:
        _, thresholds = _descend(seen, costs, thresholds, grids, partial(_priced, whole=costs.whole, price=price))
        yield thresholds


def _priced(accuracy: Floats, cost: Floats, whole: float, price: float) -> Floats:
    return cost / whole - price * accuracy


def _descend(
    seen: Seen, costs: Costs, start: Thresholds, grids: Sequence[Floats], loss: Loss
) -> tuple[float, Thresholds]:
    """Each threshold in turn the best beside the others, until a sweep over all exits changes nothing."""
    thresholds, least = start, math.inf
    for _ in range(SWEEPS):
        before = thresholds
        for position, grid in enumerate(grids):
            tried = np.append(thresholds[position], grid)
            losses = loss(*along(seen, costs, thresholds, position, tried))
            # Of equal ones the first: that of now.
            number = int(losses.argmin())
            least = float(losses[number])
            thresholds = (*thresholds[:position], float(tried[number]), *thresholds[position + 1 :])
        if thresholds == before:
            break
    return least, thresholds


def _of_two(
    seen: Seen, costs: Costs, thresholds: Thresholds, pair: tuple[int, int], grids: Sequence[Floats], loss: Loss
) -> tuple[float, Thresholds]:
    """The best thresholds of two exits beside the others."""
    one, other = pair
    found: list[tuple[float, Thresholds]] = []
    for threshold in grids[one]:
        tried = (*thresholds[:one], float(threshold), *thresholds[one + 1 :])
        losses = loss(*along(seen, costs, tried, other, grids[other]))
        number = int(losses.argmin())
        found.append((float(losses[number]), (*tried[:other], float(grids[other][number]), *tried[other + 1 :])))
    return min(found, key=lambda end: end[0])


def along(seen: Seen, costs: Costs, thresholds: Thresholds, position: int, tried: Floats) -> tuple[Floats, Floats]:
    """Accuracy and cost of a frame, for each policy that has one of `tried` at exit number `position`.

    What becomes of frames before that exit, and of those that do not leave there, is the same for all of them; frames
    in order of their confidence tell the rest by running sums.
    """
    frames, exits = seen.worth.shape[1], len(thresholds)
    before = _Passage.of_all(frames)
    before.through(seen, costs, thresholds, range(position))
    arriving = np.flatnonzero(before.inside)
    after = _Passage(before.inside.copy(), np.zeros(frames), np.zeros(frames), before.depth)
    after.through(seen, costs, thresholds, range(position + 1, exits))
    after.to_the_end(seen, costs)

    sure = np.where(np.isnan(seen.confidence[position][arriving]), -1.0, seen.confidence[position][arriving])
    order = np.argsort(-sure, kind="stable")
    first = arriving[order]
    leaving = np.where(tried < OFF, np.searchsorted(-sure[order], -tried, side="right"), 0)
    gained = _sums(seen.worth[position][first] - after.worth[first])
    spared = _sums(after.cost[first] - (costs.upto[position] - before.depth))
    heads = (tried < OFF) * costs.heads[position] * len(arriving)
    accuracy = before.worth.sum() + after.worth.sum() + gained[leaving]
    cost = before.cost.sum() + after.cost.sum() + heads - spared[leaving]
    return accuracy / frames, cost / frames


@dataclass(slots=True, eq=False)
class _Passage:
    """Frames on their way through a policy."""

    inside: npt.NDArray[np.bool_]
    """`[n]`: those that have not left."""
    worth: Floats
    """`[n]`, of the answers to those that have left; else 0."""
    cost: Floats
    """`[n]`, so far."""
    depth: float
    """Cost of the backbone up to where those are that have not left."""

    @staticmethod
    def of_all(frames: int) -> _Passage:
        """All of them where they come in."""
        return _Passage(np.ones(frames, dtype=bool), np.zeros(frames), np.zeros(frames), 0.0)

    def through(self, seen: Seen, costs: Costs, thresholds: Thresholds, exits: range) -> None:
        """Evaluate some exits, in order; those frames leave that are sure enough."""
        for exit_ in exits:
            if thresholds[exit_] == OFF:
                continue
            self.cost[self.inside] += costs.upto[exit_] - self.depth + costs.heads[exit_]
            self.depth = costs.upto[exit_]
            leaves = self.inside & (seen.confidence[exit_] >= thresholds[exit_])
            self.worth[leaves] = seen.worth[exit_][leaves]
            self.inside &= ~leaves

    def to_the_end(self, seen: Seen, costs: Costs) -> None:
        """Run the rest of the backbone."""
        self.cost[self.inside] += costs.whole - self.depth
        self.worth[self.inside] = seen.worth[-1][self.inside]


def _sums(values: Floats) -> Floats:
    """Of the first none, one, two, ... of them."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _grid(confidence: Floats, nobody: float) -> Floats:
    sure = confidence[~np.isnan(confidence)]
    quantiles = np.quantile(sure, np.linspace(0.0, 1.0, GRID)) if len(sure) else np.array([])
    thresholds = np.unique(np.round(quantiles, DECIMALS))
    # A threshold of 0 is for the last step of a policy alone.
    return np.append(thresholds[thresholds > 0], nobody)
