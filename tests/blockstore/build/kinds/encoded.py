"""A small network cut into blocks, and what an encoding may look at: real batches and scores of the real chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, fx, nn

from blockstore.build.cut import CutBlock, cut
from blockstore.build.export import Forms, export
from blockstore.build.kinds.base import Encoded, Encoding, Material
from blockstore.build.latency import medians_ms
from tests.blockstore.build import networks

BATCHES = 3


@dataclass(frozen=True, slots=True)
class Bench:
    """One block of a network, ready to be encoded."""

    block: CutBlock
    forms: Forms
    material: Material

    def encode(self, kind: Encoding) -> Encoded:
        return kind.encode(self.block, self.block.module, self.forms, self.material)


@cache
def bench(make: Callable[[], nn.Module], index: int = 0, blocks: int = 1) -> Bench:
    """Block `index` of `blocks`; accuracy is agreement with the original network. Made once."""
    chain = cut(networks.traced(make()), blocks, lambda *_: 1.0, lambda *_: True).blocks
    block = chain[index]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for seed in range(BATCHES):
            x = _through([b.module for b in chain[:index]], networks.frames(8, seed))
            yield x, block.module(x)

    def score(module: fx.GraphModule) -> float:
        frames = networks.frames(32, seed=77)
        modules = [b.module for b in chain]
        labels = _through(modules, frames).argmax(1)
        got = _through([*modules[:index], module, *modules[index + 1 :]], frames).argmax(1)
        return float((got == labels).float().mean())

    inputs, _ = next(batches())
    return Bench(block, export(block.module, block.input, inputs), Material(batches, score, medians_ms, 8, 0))


def with_other_frames(tested: Bench) -> Bench:
    """`tested`, whose block is the whole network, with training images that are higher than those that are served."""
    inputs = torch.cat([networks.frames(8), networks.frames(8, 1)], 1)
    return replace(
        tested, material=replace(tested.material, batches=lambda: iter([(inputs, tested.block.module(inputs))]))
    )


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Mean squared error over the variance of `expected`."""
    return float(((got - expected) ** 2).mean() / expected.var(correction=0))


def _through(modules: Sequence[fx.GraphModule], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
