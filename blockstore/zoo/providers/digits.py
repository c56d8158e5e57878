"""Digit scenes as a data set: the demo's frames, one digit in each."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.datasets import load_digits

from blockstore.build.images import Labelled
from blockstore.zoo import digit_scenes

HELD_OUT_EVERY: Final = 4
FIRST_TRAINING_SEED: Final = 1_000_000


class Digits:
    """Digit scenes (see `digit_scenes`). Every fourth digit of the data set is held out, with one scene each.

    Held-out scenes have the seeds 0, 1, ...; scenes of the other digits have seeds from `FIRST_TRAINING_SEED`.
    `train_limit` and `test_limit` take that many digits of either part (0: all).
    """

    classes = digit_scenes.CLASSES

    def __init__(self, train_limit: int = 0, test_limit: int = 0) -> None:
        bunch = load_digits()
        digits, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
        held_out = np.arange(len(labels)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        self.held_out_digits = digits[held_out][: test_limit or None]
        self.held_out_labels = labels[held_out][: test_limit or None]
        self.training_digits = digits[~held_out][: train_limit or None]
        self.training_labels = labels[~held_out][: train_limit or None]

    def train(self) -> Labelled:
        """One scene of each training digit."""
        return self.scenes(0, digit_scenes.SIZE)

    def scenes(self, epoch: int, size: int) -> Labelled:
        """Scenes of the training digits, `size` pixels wide and high; other ones in each epoch."""
        first = FIRST_TRAINING_SEED + epoch * len(self.training_labels)
        seeds = np.arange(first, first + len(self.training_labels))
        return Labelled(digit_scenes.frames(self.training_digits, seeds, size), self.training_labels)

    def held_out(self) -> Labelled:
        """One scene of every held-out digit."""
        seeds = np.arange(len(self.held_out_labels))
        return Labelled(digit_scenes.frames(self.held_out_digits, seeds), self.held_out_labels)


def digits(train_limit: int = 0, test_limit: int = 0) -> Digits:
    """Scenes of scikit-learn's handwritten digits."""
    return Digits(train_limit, test_limit)
