"""What exits made of the images on which thresholds are searched: plain arrays, one column for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One route's exits on `n` images."""

    confidence: Floats
    """`[exits, n]`, 0 to 1, by rising depth; NaN where a head gave no number."""
    worth: Floats
    """`[exits + 1, n]`: what the task makes of the answer of each exit and of the network's end to each image, 0 to 1;
    of classes 1 where it is right."""

    @property
    def full_accuracy(self) -> float:
        """Of the network's end."""
        return float(self.worth[-1].mean())

    def of(self, exits: Sequence[int]) -> Seen:
        """The same images seen by some of the exits."""
        rows = list(exits)
        return Seen(self.confidence[rows], self.worth[[*rows, -1]])

    def ending_at(self, exit_: int) -> Seen:
        """The same images where exit number `exit_` is the end and those behind it are not there."""
        return Seen(self.confidence[:exit_], self.worth[: exit_ + 1])
