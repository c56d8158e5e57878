"""FlexDNN's insertion plan: of exits everywhere, those that save more than they cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Leaves = npt.NDArray[np.bool_]
"""`[exits, frames]`: whether a frame would leave at an exit if it came there."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What frames cost, in any one unit: multiply-adds, or milliseconds."""

    upto: tuple[float, ...]
    """For each exit, the backbone up to its block; then the whole backbone."""
    heads: tuple[float, ...]

    @property
    def whole(self) -> float:
        """The backbone alone."""
        return self.upto[-1]


def insertion_plan(leaves: Leaves, costs: Costs) -> tuple[int, ...]:
    """The exits to keep, by rising depth (FlexDNN, section 3.3).

    For exit j with the previous kept exit i,

        G_j = N (cr_j - cr_i) CB_j    C_j = N (1 - cr_i) CE_j    R_j = G_j / C_j

    where cr is the share of the frames that have left by an exit, CB the cost of the backbone behind it, which these
    frames are spared, and CE that of its head. While some R is at most 1, the exit of the least R is removed, and all
    are worked out again.
    """
    kept = list(range(len(costs.heads)))
    while kept:
        ratios = gain_ratios(leaves, costs, kept)
        worst = min(range(len(kept)), key=lambda position: ratios[position])
        if ratios[worst] > 1.0:
            break
        del kept[worst]
    return tuple(kept)


def gain_ratios(leaves: Leaves, costs: Costs, kept: Sequence[int]) -> list[float]:
    """R of each of the `kept` exits; infinite for a head that costs nothing."""
    ratios = []
    left = np.zeros(leaves.shape[1], dtype=bool)
    for exit_ in kept:
        before = float(left.mean())
        left = left | leaves[exit_]
        saved = (float(left.mean()) - before) * (costs.whole - costs.upto[exit_])
        spent = (1.0 - before) * costs.heads[exit_]
        # Where all have left before, an exit spares nothing and costs nothing: it does not pay.
        ratios.append(saved / spent if spent > 0 else float("inf") if saved > 0 else 0.0)
    return ratios
