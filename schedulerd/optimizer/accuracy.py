"""What routes lose of their models' accuracy: drops that add up, or damages that the store's own model joins.

Measured drops of single variants do not add up: over 97 routes of ResNet-20 in nine blocks their sum is off by 1.7
points in the mean and the accuracy model, which has seen some of these routes, by 0.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockstore.accuracy_model import LINEAR, WEIBULL, AccuracyModel
from schedulerd.optimizer.problem import AppOptions, Option, PolicyOption

Floats = NDArray[np.float64]


def loss_of(app: AppOptions, picks: Sequence[int], policy: PolicyOption) -> float:
    """What a route loses, as an absolute fraction; blocks past the depth of `policy` count as undamaged.

    Args: app; picks: index of the option for each block; policy: the exit policy.
    """
    depth = policy.depth
    if app.accuracy is None:
        drops = (block[pick].accuracy_drop for block, pick in zip(app.blocks[:depth], picks, strict=False))
        return sum(drops) + policy.accuracy_drop
    damages = [row[pick] for row, pick in zip(app.accuracy.damages, picks, strict=True)]
    damages[depth:] = [0.0] * (len(damages) - depth)
    return app.accuracy.original - app.accuracy.left_by(damages) + policy.accuracy_drop


def damages_of(app: AppOptions) -> tuple[tuple[float, ...], ...]:
    """For each block and option what it adds to the damage of a route; drops where there is no model."""
    if app.accuracy is not None:
        return app.accuracy.damages
    return tuple(tuple(o.accuracy_drop for o in block) for block in app.blocks)


def most_accurate_picks(app: AppOptions) -> list[int]:
    """The least damaging option of every block; where damages are equal, the faster one."""
    return [_least(row, block) for block, row in zip(app.blocks, damages_of(app), strict=True)]


def _least(damages: Sequence[float], block: Sequence[Option]) -> int:
    least = min(damages)
    if damages.count(least) == 1:
        return damages.index(least)
    return min((i for i, damage in enumerate(damages) if damage == least), key=lambda i: block[i].latency_ms)


def losses(model: AccuracyModel | None, damages: Floats) -> Floats:
    """`loss_of` many routes at once, without what their policies lose.

    Args:
        model: of the app.
        damages: float64 [routes, blocks], 0 for blocks that are not run.

    Returns: float64 [routes].
    """
    joined: Floats = damages.sum(axis=1)
    if model is None:
        return joined
    if model.cosines:
        lengths = np.sqrt(damages)
        for block, row in enumerate(model.cosines):
            joined += 2.0 * lengths[:, block] * (lengths[:, :block] @ np.asarray(row, np.float64))
        joined = np.maximum(joined, 0.0)
    return loss_at(model, joined)


def loss_at(model: AccuracyModel, joined: Floats) -> Floats:
    """The loss for damages that are joined to one number: the curve of `AccuracyModel` for arrays."""
    if model.kind == LINEAR:
        return np.minimum(joined, model.original - model.floor)
    if model.kind == WEIBULL:
        remaining = np.exp(-(joined**model.shape))
    else:
        fall = np.exp(model.shape - joined)
        remaining = (np.exp(-joined) + fall) / (1.0 + fall)
    return (model.original - model.floor) * (1.0 - remaining)
