"""VGG-16 (Simonyan and Zisserman 2015, table 1, configuration D) for 224x224 and for 32x32 images.

The 224 form is the paper's, with the weight names of torchvision's `vgg16`. The 32 form is the usual one for CIFAR:
batch normalisation after every convolution, so that it trains from random weights, and one linear layer instead of
three.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torch import Tensor, nn

from blockstore.errors import CannotBuild

_WIDTHS: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Filters of the 3x3 convolutions, group by group; each group ends with a pooling that halves the resolution."""
_HIDDEN: Final = 4096


class Vgg16(nn.Module):
    """float32 `[batch, 3, input, input]` to logits `[batch, classes]`; `input` is 224 or 32.

    `narrower` divides the width of every convolution: 2 for half of the filters.
    """

    def __init__(self, input: int, classes: int, narrower: int = 1) -> None:  # noqa: A002  # users write ?input=32
        super().__init__()
        if input not in (32, 224):
            raise CannotBuild(f"input is {input}: VGG-16 is for images of 32x32 (CIFAR) or 224x224 (ImageNet) pixels")
        if narrower < 1 or _WIDTHS[0][0] % narrower:
            raise CannotBuild(f"narrower is {narrower}: a divisor of the {_WIDTHS[0][0]} first filters, such as 2")
        self.features = nn.Sequential(*_convolutions(normalised=input == 32, narrower=narrower))
        width = _WIDTHS[-1][-1] // narrower
        self.classifier = nn.Linear(width, classes) if input == 32 else _three_layers(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, input, input] to [batch, classes]."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def _convolutions(normalised: bool, narrower: int) -> Iterator[nn.Module]:
    inputs = 3
    for group in _WIDTHS:
        for outputs in (width // narrower for width in group):
            yield nn.Conv2d(inputs, outputs, 3, padding=1)
            if normalised:
                yield nn.BatchNorm2d(outputs)
            yield nn.ReLU()
            inputs = outputs
        yield nn.MaxPool2d(2)


def _three_layers(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width * 7 * 7, _HIDDEN),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(_HIDDEN, classes),
    )


def vgg16(input: int = 224, classes: int = 1000, narrower: int = 1) -> nn.Module:  # noqa: A002  # ?input=32
    """VGG-16 for images of `input` by `input` pixels (224 or 32), random weights; `narrower=2`: half of the filters."""
    return Vgg16(input, classes, narrower)
