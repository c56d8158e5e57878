"""Data providers for `schedulerd build --data`: labelled images with a fixed held-out part."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild
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
        self._labels = labels[~held_out][: train_limit or None]

    def train(self) -> Labelled:
        """One scene of each training digit."""
        return self.scenes(0, digit_scenes.SIZE)

    def scenes(self, epoch: int, size: int) -> Labelled:
        """Scenes of the training digits, `size` pixels wide and high; other ones in each epoch."""
        first = FIRST_TRAINING_SEED + epoch * len(self._labels)
        seeds = np.arange(first, first + len(self._labels))
        return Labelled(digit_scenes.frames(self.training_digits, seeds, size), self._labels)

    def held_out(self) -> Labelled:
        """One scene of every held-out digit."""
        seeds = np.arange(len(self.held_out_labels))
        return Labelled(digit_scenes.frames(self.held_out_digits, seeds), self.held_out_labels)


class Cifar10:
    """CIFAR-10 as JPEG in `train.npz` and `test.npz` of `folder` (`jpeg` blob, `offsets`, `labels`, `classes`).

    `train_limit` and `test_limit` take that many images from the front (0: all).
    """

    def __init__(self, folder: Path, train_limit: int, test_limit: int) -> None:
        self._folder = folder
        self._limits = {"train": train_limit, "test": test_limit}
        with np.load(self._file("test"), allow_pickle=False) as file:
            self.classes = tuple(str(c) for c in file["classes"])

    def train(self) -> Labelled:
        """The training images."""
        return self._read("train")

    def held_out(self) -> Labelled:
        """The test images."""
        return self._read("test")

    def _read(self, part: str) -> Labelled:
        with np.load(self._file(part), allow_pickle=False) as file:
            blob, offsets, labels = file["jpeg"].tobytes(), file["offsets"], file["labels"].astype(np.int64)
        count = self._limits[part] or len(labels)
        images = np.stack([_decode(blob[start:end]) for start, end in pairwise(offsets[: count + 1])])
        return Labelled(images, labels[:count])

    def _file(self, part: str) -> Path:
        path = self._folder / f"{part}.npz"
        if not path.is_file():
            raise CannotBuild(f"{path} is not there: give the folder of train.npz and test.npz as ?path=FOLDER")
        return path


def digits(train_limit: int = 0, test_limit: int = 0) -> Digits:
    """Scenes of scikit-learn's handwritten digits."""
    return Digits(train_limit, test_limit)


def cifar10(path: str, train_limit: int = 0, test_limit: int = 0) -> Cifar10:
    """CIFAR-10 from the folder `path`."""
    return Cifar10(Path(path), train_limit, test_limit)


def _decode(jpeg: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
