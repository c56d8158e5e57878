"""Small networks of each kind that the builder must cope with; float32 `[batch, 3, 12, 12]` to 4 logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.images import Labelled
from blockstore.build.trace import Traced, trace
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.resnet import Unit

FRAMES = TensorSpec("uint8", (12, 12, 3))
PREPROCESS = Preprocess((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Inverted(nn.Module):
    """1x1, depthwise 3x3, 1x1 back, and a shortcut."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.ReLU6())
        self.project = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y


class LongSkip(nn.Module):
    """The first convolution is added to the last: only the ends can be cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        start = self.first(x)
        return torch.cat([start, self.third(self.second(start))], 1).mean((2, 3))


class Heads(nn.Module):
    """A small detector: two scales, each with boxes and scores, returned as nested lists and dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        fine = self.stem(x).relu()
        coarse = self.deep(fine).relu()
        scales = (fine, coarse)
        return {
            "boxes": [self.boxes(s) for s in scales],
            "scores": (self.scores(fine).mean((2, 3)), coarse.mean((1, 2, 3))),
        }


class ReadsSizes(nn.Module):
    """The batch is read at the top and used at the end; channels are shuffled; one map is resized to another's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.tensor([[[0.5]], [[2.0]]] * 4))
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        y = self.second(self.first(x).relu())
        n, c, h, w = y.size()
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = functional.interpolate(y, size=x.shape[-2:]) * self.scale
        return self.linear(y.mean((2, 3)).view(count, -1))


class Unrolled(nn.Module):
    """Loops as often as its input has dimensions, which fx cannot trace and torch.export unrolls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(len(x.shape)):
            x = x.relu() - 0.1
        left, right = self.second(x).chunk(2, 1)
        return torch.cat([right, left], 1).mean((2, 3))


class Branching(nn.Module):
    """Its path depends on the values, which fx cannot trace."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def residual(outputs: int = 4) -> nn.Module:
    return _random(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            Unit(8, 8, 1),
            Unit(8, 16, 2),
            Unit(16, 16, 1),
            *_head(16, outputs),
        )
    )


def plain() -> nn.Module:
    convolutions = [(3, 8), (8, 16), (16, 8), (8, 16), (16, 8), (8, 16)]
    layers = [layer for a, b in convolutions for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    return _random(nn.Sequential(*layers, nn.MaxPool2d(2), *_head(16)))


def depthwise() -> nn.Module:
    return _random(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Inverted(8, 16) for _ in range(3)), *_head(8)))


def fixed_size() -> nn.Module:
    """A network that takes 12x12 and nothing else."""
    return _random(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3), nn.Flatten(), nn.Linear(128, 4)))


def traced(network: nn.Module) -> Traced:
    return trace(network, PREPROCESS, FRAMES)


def frames(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *FRAMES.shape), dtype=torch.uint8, generator=generator)


class Noise:
    """A data provider: images of nothing, labelled as the untrained `residual` sees them, so its accuracy is 1."""

    classes = ("a", "b", "c", "d")

    def __init__(self, train_height: int = 12, held_out_height: int = 12) -> None:
        self._train_height, self._held_out_height = train_height, held_out_height

    def train(self) -> Labelled:
        return Labelled(frames(24).numpy()[:, : self._train_height], np.zeros(24, np.int64))

    def held_out(self) -> Labelled:
        pictures = frames(20, seed=9)
        with torch.no_grad():
            logits = residual()(PREPROCESS(pictures))
        return Labelled(pictures.numpy()[:, : self._held_out_height], logits.argmax(1).numpy())


def _head(channels: int, outputs: int = 4) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)


def _random(network: nn.Module) -> nn.Module:
    """Weights, and statistics of batch normalisation, that do not happen to be 0 or 1."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean = 0.1 * torch.randn(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
    return network.eval()
