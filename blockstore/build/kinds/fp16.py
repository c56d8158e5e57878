"""FP16: all convolution and linear weights in half the bytes, `fp16` (DeepSense, thesis section 2.5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds import half
from blockstore.build.kinds.base import Encoded, Encoding, Material


def parse(arguments: Sequence[str]) -> Encoding:
    """The kind, which takes no arguments; raises `CannotBuild`."""
    given.check_count(arguments, 0, 0, "fp16")
    return Fp16()


@dataclass(frozen=True, slots=True)
class Fp16:
    """Stores the weights and biases of every convolution and linear layer in FP16."""

    def encode(self, block: CutBlock, module: fx.GraphModule, forms: Forms, material: Material) -> Encoded:
        """`module` in FP16. Raises `Declined` as `half.encode` does."""
        return half.encode(block, module, half.layers_of(module), forms, material, {})
