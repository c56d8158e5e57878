"""An accuracy model as a linear program can have it: lines below its curve, and damages that only add up."""

from __future__ import annotations

from typing import Final

import numpy as np

from blockstore.accuracy_model import LINEAR, WEIBULL, AccuracyModel
from schedulerd.optimizer.accuracy import loss_at
from schedulerd.optimizer.tables import Floats, Table

_NOTHING_LEFT: Final = 40.0
"""Of an exponent: exp(-40) is below the last digit of 1."""
_TANGENTS: Final = 64
"""Places at which the curve of an accuracy model is looked at."""


def least_damages(table: Table) -> Floats:
    """[blocks, places]: what an option adds to the joined damage of any route at least.

    Cosines above 0 only add. Those below take off no more than their size times the mean of the two damages, since a
    geometric mean is at most the arithmetic one.
    """
    model = table.app.accuracy
    if model is None or not model.cosines:
        return table.damage
    undone = np.zeros(table.blocks)
    for block, row in enumerate(model.cosines):
        for other, cosine in enumerate(row):
            undone[[block, other]] += max(0.0, -cosine)
    return np.asarray(table.damage * np.maximum(0.0, 1.0 - undone)[:, None])


def tangents(table: Table) -> list[tuple[float, float]]:
    """Lines below the curve from joined damage to loss, as slope and value at 0: near its lower convex hull.

    Between the places looked at the curve may hang below the hull, so every line is lowered by as much as it does.
    """
    model = table.app.accuracy
    assert model is not None
    most = float(table.damage.max(axis=1).sum()) or 1.0
    bent = min(most, _flat_from(model))
    at, closely = (np.append(np.linspace(0.0, bent, count), most) for count in (_TANGENTS, 16 * _TANGENTS))
    if bent == most:
        at, closely = at[:-1], closely[:-1]
    loss, close_loss = loss_at(model, at), loss_at(model, closely)
    # Between two of the close places a curve leaves its chord by an eighth of its second difference.
    unseen = float(np.abs(np.diff(close_loss[: 16 * _TANGENTS], 2)).max()) / 8.0
    lines, here = [], 0
    while here < len(at) - 1:
        slopes = (loss[here + 1 :] - loss[here]) / (at[here + 1 :] - at[here])
        after = here + 1 + int(np.argmin(slopes))
        slope = float(slopes[after - here - 1])
        at_zero = float(loss[here] - slope * at[here])
        above = max(0.0, float((at_zero + slope * closely - close_loss).max()))
        lines.append((slope, at_zero - above - unseen))
        here = after
    return lines


def _flat_from(model: AccuracyModel) -> float:
    """The joined damage past which nothing is left to lose, to the last digit."""
    if model.kind == LINEAR:
        return model.original - model.floor
    return float(_NOTHING_LEFT ** (1.0 / model.shape)) if model.kind == WEIBULL else model.shape + _NOTHING_LEFT
