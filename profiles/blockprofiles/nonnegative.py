"""Least squares with weights that are not negative: more work never takes less time. With numpy alone."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_TOLERANCE: Final = 1e-10
"""Of a gradient, relative to the largest at the start, that counts as none."""
_TINY: Final = 1e-300
"""In place of nothing, by which nothing is divided."""


def nonnegative_least_squares(matrix: Array, target: Array) -> Array:
    """The `w >= 0` that minimises `|matrix @ w - target|`; `matrix` `[n, k]`, `target` `[n]`, the result `[k]`.

    An active-set method on the normal equations: Bro and de Jong, "A fast non-negativity-constrained least squares
    algorithm", Journal of Chemometrics 11 (1997), after Lawson and Hanson. Columns should be of about equal length.
    """
    gram, moment = matrix.T @ matrix, matrix.T @ target
    weights, free = np.zeros(len(moment)), np.zeros(len(moment), bool)
    limit = _TOLERANCE * max(1.0, float(np.abs(moment).max(initial=0.0)))
    # Each turn frees one variable; three turns for each is what Lawson and Hanson allow.
    for _ in range(3 * len(moment)):
        gradient = np.where(free, -np.inf, moment - gram @ weights)
        best = int(gradient.argmax())
        if gradient[best] <= limit:
            break
        free[best] = True
        weights = _within(gram, moment, weights, free)
    return weights


def _within(gram: Array, moment: Array, weights: Array, free: npt.NDArray[np.bool_]) -> Array:
    """The best weights with those that are not `free` at 0; narrows `free` where one would turn negative."""
    while True:
        solved = np.zeros_like(weights)
        solved[free] = np.linalg.lstsq(gram[np.ix_(free, free)], moment[free], rcond=None)[0]
        negative = free & (solved <= 0)
        if not negative.any():
            return solved
        # As far towards the solution as all stay positive; who reaches 0 is bound again.
        steps = weights[negative] / np.maximum(weights[negative] - solved[negative], _TINY)
        weights = weights + steps.min() * (solved - weights)
        free &= weights > _TOLERANCE * max(1.0, float(weights.max()))
        weights = np.where(free, weights, 0.0)
