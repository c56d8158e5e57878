"""The demo's three networks for 144x144 digit scenes, of different architecture.

Widths follow from what the demo needs. A shipped store holds every variant twice, so weights are dear; time is spent
at high resolution, where one weight is used 20,736 times. Inner widths are 64, so that a quarter, a half and three
quarters of the filters less are again multiples of 16, the group in which engines compute; what passes between
blocks is narrow, so that pruning inner filters takes away nearly all of a block's work. The head takes the maximum
over places, so that what is learned in small scenes holds in large ones.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


class Residual(nn.Module):
    """3x3 to `inner` filters, 3x3 back, and a shortcut without weights (option A, as in the CIFAR networks)."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, h / stride, w / stride]."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.missing:
            step = self.stride
            x = functional.pad(x[:, :, ::step, ::step], (0, 0, 0, 0, 0, self.missing))
        return functional.relu(y + x)


class InvertedResidual(nn.Module):
    """1x1 to `inner` channels, depthwise 3x3, 1x1 back without activation (Sandler et al. 2018, figure 3b)."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = _convolution(inputs, inner, 1, nn.ReLU6())
        self.depthwise = _convolution(inner, inner, 3, nn.ReLU6(), stride, groups=inner)
        self.project = _convolution(inner, outputs, 1, nn.Identity())
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, h / stride, w / stride]."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


def residual() -> nn.Module:
    """Residual network, about 8 ms."""
    return _chain(
        stem=_convolution(1, 16, 3, nn.ReLU()),
        unit1=Residual(16, 64, 16),
        unit2=Residual(16, 64, 16),
        unit3=Residual(16, 48, 24, stride=2),
        unit4=Residual(24, 32, 24, stride=2),
        unit5=Residual(24, 32, 32, stride=2),
        head=_head(32),
    )


def plain() -> nn.Module:
    """VGG-like network (convolutions and pooling only), about 15 ms."""
    return _chain(
        stem=_convolution(1, 16, 3, nn.ReLU()),
        pair1=_pair(16, 64, 16),
        pair2=_pair(16, 64, 16),
        pair3=_pair(16, 64, 16),
        pair4=_pair(16, 64, 16),
        pool1=nn.MaxPool2d(2),
        pair5=_pair(16, 48, 24),
        pool2=nn.MaxPool2d(2),
        pair6=_pair(24, 32, 24),
        pool3=nn.MaxPool2d(2),
        pair7=_pair(24, 32, 32),
        head=_head(32),
    )


def depthwise() -> nn.Module:
    """Network of inverted residuals, about 10 ms."""
    return _chain(
        stem=_convolution(1, 16, 3, nn.ReLU()),
        stage1=nn.Sequential(*(InvertedResidual(16, 64, 16) for _ in range(9))),
        stage2=nn.Sequential(InvertedResidual(16, 64, 24, stride=2), InvertedResidual(24, 96, 24)),
        stage3=nn.Sequential(InvertedResidual(24, 96, 32, stride=2), InvertedResidual(32, 96, 32)),
        stage4=nn.Sequential(InvertedResidual(32, 96, 32, stride=2), InvertedResidual(32, 96, 32)),
        head=_head(32),
    )


def _chain(**parts: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(parts))


def _pair(inputs: int, inner: int, outputs: int) -> nn.Module:
    return nn.Sequential(_convolution(inputs, inner, 3, nn.ReLU()), _convolution(inner, outputs, 3, nn.ReLU()))


def _convolution(
    inputs: int, outputs: int, size: int, activation: nn.Module, stride: int = 1, groups: int = 1
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        activation,
    )


def _head(channels: int) -> nn.Module:
    """Features of places, the largest of each, logits."""
    return nn.Sequential(
        _convolution(channels, 96, 1, nn.ReLU()), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(96, CLASSES)
    )
