"""Residual networks for 32x32 images (He et al. 2015, section 4.2): 6n+2 layers, 16, 32 and 64 filters.

Weights are named as in Y. Idelbayev's pytorch_resnet_cifar10 (conv1, bn1, layer1.0.conv1, ..., linear).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Unit(nn.Module):
    """Two 3x3 convolutions and a shortcut that owns no weights.

    Option A: where the resolution halves, the shortcut takes every second pixel and new channels are zero.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.reduces = stride != 1
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, h / stride, w / stride]."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.reduces:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    """float32 `[batch, 3, 32, 32]` to logits `[batch, classes]`."""

    def __init__(self, depth: int = 20, classes: int = 10) -> None:
        super().__init__()
        if (depth - 2) % 6:
            raise ValueError(f"depth is {depth}: CIFAR residual networks have 6n+2 layers (20, 32, 44, 56)")
        units = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, units, stride=1)
        self.layer2 = _stage(16, 32, units, stride=2)
        self.layer3 = _stage(32, 64, units, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 32, 32] to [batch, classes]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, units: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*(Unit(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(units)))


def cifar_resnet(depth: int = 20) -> nn.Module:
    """The network of `depth` layers for CIFAR-10, random weights."""
    return CifarResNet(depth)
