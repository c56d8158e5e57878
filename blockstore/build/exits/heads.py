"""What a head is made of: from the output of a block, and maybe that of an earlier one, to what the network gives.

    features -> (aggregate) -> convolutions -> pool -> linear

Heads are plain modules that are trained in place; `filters` of a design are what FlexDNN's search prunes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import Tensor, nn

from blockstore.block import TensorSpec
from blockstore.errors import CannotBuild

Pooling = Literal["average", "maximum", "flatten"]
GIVEN_FILTERS: Final = 32
"""Of a convolution of BranchyNet's branches for CIFAR-10."""
BROAD_FILTERS: Final = (32, 64, 64)
"""Of the convolutions of an over-parameterised head. On ResNet-20, after an epoch, such heads that read every pixel had
the accuracy of BranchyNet's branches or a point more, at two thirds of their multiply-adds where maps are large."""
SMALL: Final = 8
"""Feature maps of this height or less are not made smaller, larger ones are by every convolution of a head."""


@dataclass(frozen=True, slots=True)
class Design:
    """The shape of one head."""

    filters: tuple[int, ...]
    """Of each 3x3 convolution, in order; none: the head is a linear layer on pooled features."""
    pooling: Pooling
    """After the convolutions: mean or maximum over the map, or every pixel of what max pooling to at most `SMALL`
    leaves. The mean cost heads of ResNet-20 7 to 15 points of accuracy."""
    strided: bool
    """Large maps are halved by a stride of the convolution; else by max pooling behind it."""
    aggregates: bool = False
    """Takes the features of the exit before it as well (MXN)."""

    def with_filters(self, filters: tuple[int, ...]) -> Design:
        """The same head with other convolutions."""
        return replace(self, filters=filters)


def given(spec: TensorSpec) -> Design:
    """BranchyNet's branch: convolutions at full resolution, each with max pooling behind it, and a linear layer.

    Two of them where the map is large and one where it is not, as in its B-AlexNet (section IV).
    """
    layers = (2 if spec.shape[1] > SMALL else 1) if is_map(spec) else 0
    return Design((GIVEN_FILTERS,) * layers, "flatten", strided=False)


def broad(spec: TensorSpec, pooling: Pooling, aggregates: bool = False) -> Design:
    """FlexDNN's starting point: more layers and filters than the head is going to need."""
    filters = BROAD_FILTERS if is_map(spec) else ()
    return Design(filters, pooling, strided=True, aggregates=aggregates)


def is_map(spec: TensorSpec) -> bool:
    """Whether there is something for convolutions, `[c, h, w]`."""
    return len(spec.shape) == 3


class Head(nn.Module):
    """Features, float32 `[batch, c, h, w]` or `[batch, n]` of each input, to logits `[batch, *output]`.

    `specs` are those of the inputs: the exit's own block comes last, before it that of the exit that is aggregated.
    """

    def __init__(self, design: Design, specs: tuple[TensorSpec, ...], output: TensorSpec) -> None:
        super().__init__()
        if len(specs) != 1 + design.aggregates:
            raise CannotBuild(
                f"a head that {'aggregates' if design.aggregates else 'stands alone'} has {len(specs)} inputs"
            )
        self.design = design
        own = specs[-1].shape
        self.aggregate = _Aggregate(specs[0].shape, own) if design.aggregates else None
        self.is_map = is_map(specs[-1])
        self.convolutions = nn.Sequential(*_convolutions(design, own)) if self.is_map else nn.Sequential()
        channels, height, width = _shape_after(design, own)
        if self.is_map and design.pooling != "flatten":
            height = width = 1
        self.pooling = design.pooling
        self.output = output.shape
        self.linear = nn.Linear(channels * height * width, math.prod(output.shape))

    def forward(self, *features: Tensor) -> Tensor:
        """The logits for the features of each input."""
        x = features[-1] if self.aggregate is None else self.aggregate(*features)
        x = self.convolutions(x)
        if self.is_map and self.pooling == "average":
            x = x.mean((2, 3))
        elif self.is_map and self.pooling == "maximum":
            x = x.amax((2, 3))
        logits: Tensor = self.linear(x.flatten(1))
        return logits if len(self.output) == 1 else logits.reshape(-1, *self.output)


class _Aggregate(nn.Module):
    """MXN (thesis, section 5.2.2): earlier features max-pooled to size, concatenated, compressed by a 1x1 convolution.

    What comes out has the channels of the exit's own features.
    """

    def __init__(self, earlier: tuple[int, ...], own: tuple[int, ...]) -> None:
        super().__init__()
        if len(earlier) != 3 or len(own) != 3 or earlier[1] < own[1] or earlier[2] < own[2]:
            raise CannotBuild(f"features {earlier} cannot be pooled to {own}: aggregation takes maps that do not grow")
        stride = (earlier[1] // own[1], earlier[2] // own[2])
        # The last window ends where the map ends, whatever the ratio of the sizes.
        window = (earlier[1] - (own[1] - 1) * stride[0], earlier[2] - (own[2] - 1) * stride[1])
        self.pool = nn.MaxPool2d(window, stride)
        self.compress = nn.Conv2d(earlier[0] + own[0], own[0], 1)

    def forward(self, earlier: Tensor, own: Tensor) -> Tensor:
        return torch.relu(self.compress(torch.cat([self.pool(earlier), own], 1)))


def _convolutions(design: Design, own: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels, height = own[0], own[1]
    for filters in design.filters:
        halves = height > SMALL
        stride = 2 if halves and design.strided else 1
        layers += [nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        if halves and not design.strided:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        channels, height = filters, -(-height // 2) if halves else height
    if design.pooling == "flatten" and height > SMALL:
        layers.append(nn.MaxPool2d(-(-height // SMALL), ceil_mode=True))
    return layers


def _shape_after(design: Design, own: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width behind the convolutions; `(n, 1, 1)` for a vector."""
    if len(own) != 3:
        return math.prod(own), 1, 1
    channels, height, width = own
    for filters in design.filters:
        halves = height > SMALL
        channels = filters
        if halves:
            height, width = -(-height // 2), -(-width // 2)
    if design.pooling == "flatten" and height > SMALL:
        window = -(-height // SMALL)
        height, width = -(-height // window), -(-width // window)
    return channels, height, width
