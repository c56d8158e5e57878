"""What the tests of the zoo's networks ask of each."""

from __future__ import annotations

from torch import nn

from blockstore.block import TensorSpec
from blockstore.build.trace import Traced, trace
from blockstore.zoo.preprocess import Preprocess


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def traced(network: nn.Module, side: int, channels: int = 3) -> Traced:
    """`network` as the builder traces it, for square frames, with its batch normalisation folded."""
    preprocess = Preprocess((0.5,) * channels, (0.25,) * channels)
    return trace(network, preprocess, TensorSpec("uint8", (side, side, channels)))
