"""What an engine is: it turns the blob of a variant or of an exit's head into something that runs.

An engine is chosen once, in `daemon.py`. A `LoadedBlock` or `LoadedHead` may be run from several lanes at once. The
chain hands each block's output to the next one as the engine's own tensor (`Any`), so that a torch engine need not
leave its device between blocks; `Engine.feed` and `Engine.fetch` convert at the two ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blockstore.assembly import LoadedBlock, LoadedHead

Array = npt.NDArray[Any]
HEAD_INPUTS = (1, 2)
"""Least and most: the output of the block before the exit, and that of the exit before it."""
HEAD_OUTPUTS = ("output", "confidence")
"""What a head gives, by name in an ONNX file and by position in a torch form."""


class Engine(Protocol):
    """Executes variants that have an artifact for `name`."""

    name: str
    """`onnxruntime` or `torch`: the `Artifact.engine` it runs."""
    threads: int
    """Inside one operator."""

    def version(self) -> str:
        """Version of the library underneath; part of the device's fingerprint."""
        ...

    def load(self, path: Path) -> LoadedBlock:
        """Load a verified blob. Raises `EngineError` with the file and the reason when it is not loadable."""
        ...

    def load_apart(self, path: Path) -> LoadedBlock:
        """As `load`, but with nothing in memory that blocks share: what it keeps can be weighed."""
        ...

    def load_head(self, path: Path) -> LoadedHead:
        """Load the verified blob of an exit's head. Raises `EngineError` as `load` does."""
        ...

    def feed(self, array: Array) -> Any:
        """A request's array as this engine's tensor, without a copy where possible."""
        ...

    def fetch(self, tensor: Any) -> Array:
        """This engine's tensor as an array in ordinary memory."""
        ...

    def join(self, tensors: Sequence[Any]) -> Any:
        """Tensors `[1, ...]` of one shape and dtype as one batch `[n, ...]` of this engine, a copy of them."""
        ...


def as_batch(array: Array, shape: tuple[int, ...]) -> Array:
    """One frame as a batch of one: `shape` or `[1, *shape]` becomes `[1, *shape]`, C-contiguous."""
    return np.ascontiguousarray(array).reshape((1, *shape))
