"""Network in Network for 32x32 images (Lin et al. 2014, figure 2): each large convolution is followed by two of 1x1.

Widths are those of the authors' CIFAR-10 network. Apart from it, so that it trains in tens of epochs: batch
normalisation follows every convolution but the last and stands in for dropout, and the last convolution has no ReLU.
With the normalisation folded, as the builder serves it, the parameters are those of the authors' network.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def _unit(inputs: int, size: int, widths: tuple[int, ...]) -> Iterator[nn.Module]:
    """A `size` x `size` convolution and 1x1 ones after it ("mlpconv", section 3.1)."""
    for position, outputs in enumerate(widths):
        kernel = size if position == 0 else 1
        yield nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        yield nn.BatchNorm2d(outputs)
        yield nn.ReLU()
        inputs = outputs


def nin(classes: int = 10) -> nn.Module:
    """The network, random weights: float32 `[batch, 3, 32, 32]` to logits `[batch, classes]`."""
    return nn.Sequential(
        *_unit(3, 5, (192, 160, 96)),
        # 32 to 16 to 8 places, as in the authors' network, whose pooling rounds up instead of padding.
        nn.MaxPool2d(3, stride=2, padding=1),
        *_unit(96, 5, (192, 192, 192)),
        nn.AvgPool2d(3, stride=2, padding=1),
        *_unit(192, 3, (192, 192)),
        nn.Conv2d(192, classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
