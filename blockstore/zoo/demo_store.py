"""Makes the demo's store from nothing: `python -m blockstore.zoo.demo_store --archive FILE --held-out FILE`.

Trains the three networks of `digit_networks` on digit scenes, builds a model of each, and writes one archive with all
of them and one file with the held-out digits. Every fourth digit of the data set is held out: no network and no
variant ever sees it in training, accuracy is measured on it, and the demo's clients stream it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import nn

from blockstore.block import TensorSpec
from blockstore.build import pipeline
from blockstore.build.images import Labelled
from blockstore.build.progress import Progress, shown
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from blockstore.zoo import digit_networks, digit_scenes
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.train import Lessons, train

HELD_OUT_EVERY: Final = 4
SCENES_PER_DIGIT: Final = 2
"""Scenes drawn of each training digit."""
FIRST_TRAINING_SEED: Final = 1_000_000
"""Held-out scenes have the seeds from 0, training scenes those from here."""
MEAN: Final = (0.5,)
STD: Final = (0.25,)


class Digits:
    """Digit scenes as a data provider."""

    classes = digit_scenes.CLASSES

    def __init__(self, scenes_per_digit: int = SCENES_PER_DIGIT, limit: int = 0) -> None:
        bunch = load_digits()
        digits, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
        held_out = np.arange(len(labels)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        self.held_out_digits = digits[held_out][: limit or None]
        self.held_out_labels = labels[held_out][: limit or None]
        self._digits = np.repeat(digits[~held_out][: limit or None], scenes_per_digit, axis=0)
        self._labels = np.repeat(labels[~held_out][: limit or None], scenes_per_digit)

    def train(self) -> Labelled:
        """Scenes of three quarters of the digits."""
        return _scenes(self._digits, self._labels, FIRST_TRAINING_SEED)

    def held_out(self) -> Labelled:
        """One scene of every fourth digit."""
        return _scenes(self.held_out_digits, self.held_out_labels, 0)


def _scenes(
    digits: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], first_seed: int
) -> Labelled:
    seeds = np.arange(first_seed, first_seed + len(digits))
    return Labelled(digit_scenes.frames(digits, seeds), labels)
