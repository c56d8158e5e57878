"""What blocks give along any route of the variants, from their ONNX forms: what is served is what exits learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from blockstore.accuracy_model import Route
from blockstore.block import ORIGINAL
from blockstore.build.cut import CutBlock
from blockstore.build.export import run, session
from blockstore.build.manifest import by_block
from blockstore.build.variants import Finished
from blockstore.errors import CannotBuild

Array = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Variants:
    """All variants of a model, loaded; INT8 ones are among them."""

    names: tuple[tuple[str, ...], ...]
    """Of each block, the original first."""
    sessions: tuple[tuple[onnxruntime.InferenceSession, ...], ...]

    @staticmethod
    def load(finished: Iterable[Finished], threads: int) -> Variants:
        """Sessions of `threads` threads for each variant."""
        rows = by_block(finished)
        return Variants(
            tuple(tuple(f.name for f in row) for row in rows),
            tuple(tuple(session(f.forms().onnx, threads) for f in row) for row in rows),
        )

    @property
    def original(self) -> Route:
        """The route of originals."""
        return (0,) * len(self.names)

    def uniform(self, name: str) -> Route:
        """The route that has the variant `name` wherever there is one, and originals elsewhere."""
        return tuple(row.index(name) if name in row else 0 for row in self.names)

    def kinds(self) -> list[str]:
        """Names of all variants but the originals."""
        return sorted({name for row in self.names for name in row[1:]})

    def drawn(self, draw: np.random.Generator) -> Route:
        """A route with any variant in each block, all of them as likely."""
        return tuple(int(draw.integers(len(row))) for row in self.names)

    def check(self, blocks: Sequence[CutBlock], images: Images) -> None:
        """Raise `CannotBuild` unless every variant gives what heads take: the output of its block."""
        for route in map(self.uniform, (ORIGINAL, *self.kinds())):
            tensor: npt.NDArray[np.generic] = images
            for block, number in zip(blocks, route, strict=True):
                tensor = run(self.sessions[block.index][number], tensor)
                if tensor.shape[1:] != block.output.shape:
                    raise CannotBuild(
                        f"variant {self.names[block.index][number]!r} of block {block.index} gives"
                        f" {list(tensor.shape[1:])}, the head of an exit there takes {block.output}: leave that variant"
                        " out, or the exits"
                    )

    def walk(self, route: Route, images: Images, wanted: Collection[int]) -> dict[int, Array]:
        """Outputs of the `wanted` blocks for uint8 `[batch, h, w, c]`; blocks behind the last of them are not run."""
        tensor: npt.NDArray[np.generic] = images
        found: dict[int, Array] = {}
        for block in range(max(wanted) + 1):
            tensor = run(self.sessions[block][route[block]], tensor)
            if block in wanted:
                found[block] = np.asarray(tensor, np.float32)
        return found


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of `size` over `count` images, in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def shuffled(count: int, size: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
    """Positions of whole batches, without end: an epoch after another, each in an order of its own."""
    size = min(size, count)
    while True:
        order = draw.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def steps(epochs: int, count: int, size: int) -> int:
    """Batches in so many epochs of `shuffled`."""
    return epochs * (count // min(size, count))
