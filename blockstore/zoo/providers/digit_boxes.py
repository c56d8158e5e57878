"""Scenes with several digits and the box of each: labelled images for a detector, made from scikit-learn's digits.

Half of the frames are a close view, one digit at twice the size; the others are two by two scenes of `digit_scenes`,
each of which may lack its digit. The box of a digit is where its scene differs from the same scene without it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.build.images import Boxes, Labelled
from blockstore.zoo import digit_scenes
from blockstore.zoo.providers.digits import FIRST_TRAINING_SEED, Digits

SIZE: Final = 96
"""Height and width of a frame in pixels."""
_TILE: Final = SIZE // 2
_PRESENT: Final = 0.75
"""Share of the small scenes that have a digit."""
_VISIBLE: Final = 12
"""Grey levels by which ink darkens a pixel that belongs to the box."""

Pixels = npt.NDArray[np.uint8]


class DigitBoxes:
    """Digits of `Digits`, in the same two parts; `train_limit` and `test_limit` frames of either (0: one per digit)."""

    classes = digit_scenes.CLASSES

    def __init__(self, train_limit: int = 0, test_limit: int = 0) -> None:
        self._digits = Digits()
        self._limits = train_limit, test_limit

    def train(self) -> Labelled:
        """The frames of epoch 0."""
        return self.scenes(0)

    def scenes(self, epoch: int) -> Labelled:
        """Frames of training digits; other ones in each epoch."""
        digits = self._digits
        count = self._limits[0] or len(digits.training_digits)
        first = FIRST_TRAINING_SEED + epoch * count
        return _frames(digits.training_digits, digits.training_labels, range(first, first + count))

    def held_out(self) -> Labelled:
        """Frames of held-out digits, always the same."""
        digits = self._digits
        count = self._limits[1] or len(digits.held_out_digits)
        return _frames(digits.held_out_digits, digits.held_out_labels, range(count))


def digit_boxes(train_limit: int = 0, test_limit: int = 0) -> DigitBoxes:
    """Scenes with boxes: uint8 `[n, 96, 96, 1]`, labels float32 `[k, 5]` for each frame, k from 0 to 4."""
    return DigitBoxes(train_limit, test_limit)


def _frames(digits: Pixels, labels: npt.NDArray[np.int64], seeds: range) -> Labelled:
    made = [_frame(digits, labels, seed) for seed in seeds]
    return Labelled(np.stack([frame for frame, _ in made]), [boxes for _, boxes in made])


def _frame(digits: Pixels, labels: npt.NDArray[np.int64], seed: int) -> tuple[Pixels, Boxes]:
    """The frame `seed` and its boxes: x1, y1, x2, y2 as shares of width and height, class."""
    draw = np.random.RandomState(seed)
    if draw.uniform() < 0.5:
        index = draw.randint(len(digits))
        tile, boxes = _tile(digits[index], labels[index], digits[index - 1], draw)
        return tile.repeat(2, axis=0).repeat(2, axis=1), _shares(boxes, _TILE)
    frame = np.zeros((SIZE, SIZE, 1), np.uint8)
    found = []
    for top, left in ((0, 0), (0, _TILE), (_TILE, 0), (_TILE, _TILE)):
        index, present = draw.randint(len(digits)), draw.uniform() < _PRESENT
        digit = digits[index] if present else np.zeros_like(digits[index])
        frame[top : top + _TILE, left : left + _TILE], boxes = _tile(digit, labels[index], digits[index - 1], draw)
        found.append(boxes + np.array([left, top, left, top, 0], dtype=np.float32))
    return frame, _shares(np.concatenate(found), SIZE)


def _tile(digit: Pixels, label: np.int64, other: Pixels, draw: np.random.RandomState) -> tuple[Pixels, Boxes]:
    """A scene of `digit`; left, top, right, bottom of its ink in pixels and its label, `[1, 5]`; none is `[0, 5]`."""
    seed = int(draw.randint(2**31))
    scene = digit_scenes.frame(digit, other, seed, _TILE)
    without = digit_scenes.frame(np.zeros_like(digit), other, seed, _TILE)
    rows, columns = np.nonzero(without[:, :, 0].astype(int) - scene[:, :, 0] > _VISIBLE)
    if not len(rows):
        return scene, np.zeros((0, 5), np.float32)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, label)
    return scene, np.array([box], dtype=np.float32)


def _shares(boxes: Boxes, size: int) -> Boxes:
    """`boxes` in shares of a frame of `size` pixels instead of pixels."""
    return np.divide(boxes, np.array([size, size, size, size, 1], dtype=np.float32))
