"""The original network as the teacher of its variants: what every block gets and gives, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blockstore.build.cut import CutBlock
from blockstore.build.layout import channels_last
from blockstore.build.neck import up_to_neck

Images = npt.NDArray[np.uint8]
"""`[n, h, w, c]`, as a camera gives them; may be a memory-mapped file that processes share."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one block of the original network makes of one batch."""

    block: int
    input: Tensor
    output: Tensor
    neck: Tensor | None
    """See `blockstore.build.neck`; None where the block does not end in a vector."""


class Teacher:
    """The blocks of a network from the first on, frozen, on `device` (`cpu` or `cuda`).

    Nothing is kept: a pass holds one batch of the frames, of the input and of the output of one block, and what is
    inside that block while it runs. So its memory is bounded by the batch size times the largest sum of two
    neighbouring activations, however many images there are: 8 MiB for 64 images of ResNet-20 (2 x 16 x 32 x 32 floats).
    The blocks are changed in place to compute channels last.
    """

    def __init__(self, blocks: Sequence[CutBlock], device: str = "cpu") -> None:
        self.device = device
        # Kinds of variants read the blocks on the CPU: they stay there.
        modules = [b.module if device == "cpu" else copy.deepcopy(b.module) for b in blocks]
        for module in modules:
            channels_last(module).to(device).eval().requires_grad_(False)
        self._modules = modules
        self._necks = [up_to_neck(m, b.input) for m, b in zip(self._modules, blocks, strict=True)]

    def walk(self, frames: Images, last: int) -> Iterator[Lesson]:
        """What every block up to `last` makes of one batch."""
        x = self._tensor(frames)
        for index, module in enumerate(self._modules[: last + 1]):
            with torch.no_grad():
                output, up_to = module(x), self._necks[index]
                neck = None if up_to is None else up_to(x)
            yield Lesson(index, x, output, neck)
            x = output

    def lessons(self, block: int, images: Images, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Input and output of one block for `images`, in order, on the CPU."""
        for start in range(0, len(images), batch_size):
            for lesson in self.walk(images[start : start + batch_size], block):
                if lesson.block == block:
                    yield lesson.input.cpu(), lesson.output.cpu()

    def finish(self, block: int, output: Tensor) -> Tensor:
        """What the network gives where `block` gives `output`, on the CPU."""
        x = output.to(self.device)
        with torch.no_grad():
            for module in self._modules[block + 1 :]:
                x = module(x)
        return x.cpu()

    def _tensor(self, frames: Images) -> Tensor:
        # A memory-mapped file is read-only, a tensor is not: a copy of one batch.
        return torch.from_numpy(np.array(frames)).to(self.device)
