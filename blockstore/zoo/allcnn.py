"""ALL-CNN-C for 32x32 images (Springenberg et al. 2015, tables 1 and 2): convolutions of stride 2 in place of pooling.

Apart from the paper, so that it trains in tens of epochs instead of 350: batch normalisation follows every convolution
but the last and stands in for dropout, and the last convolution has no ReLU. With the normalisation folded, as the
builder serves it, the parameters are those of the paper's network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torch import nn

_LAYERS: Final = (
    (96, 3, 1, 1),
    (96, 3, 1, 1),
    (96, 3, 2, 1),
    (192, 3, 1, 1),
    (192, 3, 1, 1),
    (192, 3, 2, 1),
    (192, 3, 1, 0),
    (192, 1, 1, 0),
)
"""Filters, kernel size, stride and padding. The seventh pads nothing: the mean is over 6x6 places (table 1)."""


def _layers(classes: int) -> Iterator[nn.Module]:
    inputs = 3
    for outputs, size, stride, padding in _LAYERS:
        yield nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        yield nn.BatchNorm2d(outputs)
        yield nn.ReLU()
        inputs = outputs
    yield nn.Conv2d(inputs, classes, 1)
    yield nn.AdaptiveAvgPool2d(1)
    yield nn.Flatten()


def all_cnn_c(classes: int = 10) -> nn.Module:
    """The network, random weights: float32 `[batch, 3, 32, 32]` to logits `[batch, classes]`."""
    return nn.Sequential(*_layers(classes))
