"""A one-stage detector of two scales for small frames, in the manner of YOLOv3 (Redmon and Farhadi 2018).

It has two outputs, float32 `[n, 5 + classes, h / 8, w / 8]` for small objects and `[n, 5 + classes, h / 16, w / 16]`
for large ones. At each place: logit of whether the centre of an object is there, logits of the centre's place inside
of the cell in x and y, logarithms of width and height as a multiple of the prior, logits of the classes. One prior for
each scale is enough where objects are about as wide as high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.errors import CannotBuild
from blockstore.zoo.boxes import Floats, boxes_of, suppressed

STRIDES: Final = (8, 16)
PRIOR_CELLS: Final = 2.0
"""Width and height of the prior of each scale, in cells of that scale."""
GEOMETRY: Final = 5
"""Channels before those of the classes."""
MIN_SCORE: Final = 0.25
MAX_OVERLAP: Final = 0.45


class SmallDetector(nn.Module):
    """float32 `[batch, channels, h, w]`, h and w multiples of 16, to the two outputs; about 80,000 parameters."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(channels, 16, stride=2), _convolution(16, 24, stride=2))
        self.small = nn.Sequential(_convolution(24, 32, stride=2), _convolution(32, 32))
        self.large = nn.Sequential(_convolution(32, 48, stride=2), _convolution(48, 48))
        self.small_head = _head(32 + 48, GEOMETRY + classes)
        self.large_head = _head(48, GEOMETRY + classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, channels, h, w] to the outputs of both scales, finest first."""
        small = self.small(self.stem(x))
        large = self.large(small)
        # What the coarse scale has seen around a place tells a small object from a part of a large one.
        context = functional.interpolate(large, scale_factor=2.0, mode="nearest")
        return self.small_head(torch.cat([small, context], 1)), self.large_head(large)


def _convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, 32, size=1), _convolution(32, 32), nn.Conv2d(32, outputs, 1))


def small_detector(channels: int = 1, classes: int = 10) -> nn.Module:
    """The detector, random weights; the defaults are those of `blockstore.zoo.datasets:digit_boxes`."""
    return SmallDetector(channels, classes)


def boxes(outputs: Sequence[Floats], min_score: float = MIN_SCORE) -> list[Floats]:
    """Objects in each image of a batch: float32 `[k, 6]` as in `blockstore.zoo.boxes`, highest score first.

    `outputs` are those of the network, finest first. The score is the probability of an object times
    that of its class.
    """
    if not isinstance(outputs, tuple | list) or any(o.ndim != 4 or o.shape[1] <= GEOMETRY for o in outputs):
        raise CannotBuild(
            "the small detector has two outputs of [n, 5 + classes, rows, columns]; this network has others"
        )
    scales = [[_decode(image, min_score) for image in output] for output in outputs]
    return [suppressed(np.concatenate(found), MAX_OVERLAP) for found in zip(*scales, strict=True)]


def _decode(places: Floats, min_score: float) -> Floats:
    """Boxes of one image at one scale, `[5 + classes, rows, columns]` (section 2.1, figure 2)."""
    cells = np.array(places.shape[:0:-1])
    likelihoods = np.exp(places[GEOMETRY:] - places[GEOMETRY:].max(axis=0))
    scores = _sigmoid(places[0]) * likelihoods.max(axis=0) / likelihoods.sum(axis=0)
    rows, columns = np.nonzero(scores > min_score)
    found = places[:, rows, columns].T
    centres = (np.column_stack([columns, rows]) + _sigmoid(found[:, 1:3])) / cells
    sizes = PRIOR_CELLS * np.exp(found[:, 3:GEOMETRY]) / cells
    return boxes_of(centres, sizes, scores[rows, columns], found[:, GEOMETRY:].argmax(axis=1))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)
