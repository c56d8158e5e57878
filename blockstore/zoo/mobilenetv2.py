"""MobileNetV2 1.0 for 224x224 images (Sandler et al. 2018, table 2) as TensorFlow trained and exported it.

Batch normalisation is folded: the network is for weights that exist, not for training from nothing. Weights are named
stem, blocks.{0..16}.{expand,depthwise,project}, head, classifier; class 0 of the 1001 is the background. It takes
RGB / 127.5 - 1.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

_STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, number of blocks, stride of the first block: t, c, n, s of table 2."""
_STEM: Final = 32
_HEAD: Final = 1280


class FoldedInvertedResidual(nn.Module):
    """1x1 to `expansion * inputs` channels, depthwise 3x3, 1x1 back without activation (figure 3b)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * inputs
        self.expand = nn.Conv2d(inputs, inner, 1) if expansion != 1 else None
        self.depthwise = _convolution3(inputs * expansion, inner, stride, groups=inner)
        self.project = nn.Conv2d(inner, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, h / stride, w / stride]."""
        inner = functional.relu6(self.expand(x)) if self.expand is not None else x
        y: Tensor = self.project(functional.relu6(_convolve(self.depthwise, inner)))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """float32 `[batch, 3, 224, 224]` to logits `[batch, classes]`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _convolution3(3, _STEM, stride=2)
        blocks, inputs = [], _STEM
        for expansion, outputs, count, stride in _STAGES:
            for position in range(count):
                blocks.append(FoldedInvertedResidual(inputs, outputs, expansion, stride if position == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(inputs, _HEAD, 1)
        self.classifier = nn.Conv2d(_HEAD, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] to [batch, classes]."""
        x = self.blocks(functional.relu6(_convolve(self.stem, x)))
        x = functional.adaptive_avg_pool2d(functional.relu6(self.head(x)), 1)
        logits: Tensor = self.classifier(x).flatten(1)
        return logits


def _convolution3(inputs: int, outputs: int, stride: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0, groups=groups)


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """TensorFlow's "SAME": at stride 2 an even height and width are padded below and on the right only."""
    y: Tensor = convolution(functional.pad(x, (0, 1, 0, 1)) if convolution.stride == (2, 2) else x)
    return y


def mobilenetv2(classes: int = 1001) -> nn.Module:
    """The network of width 1.0, random weights."""
    return MobileNetV2(classes)
