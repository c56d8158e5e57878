"""One block and what a reshaping may look at; networks that the general ones lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock
from blockstore.build.kinds.base import Material, Reshaped, Reshaping
from tests.blockstore.build import networks

INPUT = TensorSpec("float32", (4, 8, 8))
"""What blocks made by `block_of` take."""


class Fire(nn.Module):
    """Two convolutions read one and their outputs are concatenated (Iandola et al. 2016, figure 1)."""

    def __init__(self, inputs: int, squeezed: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.left = nn.Conv2d(squeezed, outputs, 1)
        self.right = nn.Conv2d(squeezed, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.left(x), self.right(x)], 1))


class Projected(nn.Module):
    """A residual unit whose shortcut is a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))


class Scaled(nn.Module):
    """A residual unit behind a position; its branch is scaled channel by channel (Touvron et al. 2021, section 2).

    Inside of the branch something is added to each channel: `first` cannot lose filters.
    """

    def __init__(self, channels: int, side: int, inner: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.last = nn.Conv2d(inner, channels, 3, padding=1)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, channels)[:, None, None])
        self.position = nn.Parameter(torch.randn(channels, side, side))
        self.register_buffer("shift", torch.linspace(-1, 1, inner)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position
        branch: Tensor = self.last(torch.relu(self.first(x) + self.shift))
        return x + self.scale * branch


def scaled() -> nn.Module:
    """For frames of 12x12: constants of the network's own in a block that has inner filters besides."""
    torch.manual_seed(1)
    plain = (nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Scaled(8, 12), *plain, *head)


def concatenating() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(Fire(4, 6, 8), Fire(16, 6, 8), nn.Conv2d(16, 4, 3, padding=1))


def projecting() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), Projected(8, 16), Projected(16, 16))


@dataclass(frozen=True, slots=True)
class Bench:
    """A block with what its kinds may look at; a module's "latency" is the number of its parameters."""

    block: CutBlock
    material: Material

    def reshape(self, kind: Reshaping, module: fx.GraphModule | None = None) -> Reshaped:
        return kind.reshape(self.block, module or self.block.module, self.material)

    def error(self, module: fx.GraphModule) -> float:
        """Mean squared error over variance."""
        inputs, target = next(self.material.batches())
        with torch.no_grad():
            return float((module(inputs) - target).square().mean() / target.var(correction=0))


def whole(make: Callable[[], nn.Module], multiple: int = 1) -> Bench:
    """A network that takes frames, as one block."""
    traced = networks.traced(make())
    return _bench(CutBlock(0, "all", traced.module, traced.input, traced.output), networks.frames(24), multiple)


def block_of(network: nn.Module, multiple: int = 1, spec: TensorSpec = INPUT) -> Bench:
    """A block of a network's inside, which takes `spec`."""
    # A layer of torch is called, not looked into, only where it is part of something.
    module = fx.symbolic_trace(nn.Sequential(network).eval().requires_grad_(False))
    inputs = torch.randn((24, *spec.shape), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output = TensorSpec("float32", tuple(module(inputs).shape[1:]))
    return _bench(CutBlock(0, "all", module, spec, output), inputs, multiple)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _bench(block: CutBlock, inputs: Tensor, multiple: int) -> Bench:
    with torch.no_grad():
        pairs = [(part, block.module(part)) for part in torch.chunk(inputs, 3)]
    return Bench(block, Material(lambda: iter(pairs), lambda _: 0.0, _sizes, multiple, 0))


def _sizes(modules: Sequence[fx.GraphModule], _: TensorSpec) -> list[float]:
    return [float(parameters(module)) for module in modules]
