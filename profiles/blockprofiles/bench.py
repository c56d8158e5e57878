"""The variants and exits of one model, loaded and proven to run: what the timing rounds work on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blockprofiles.allocator import allocated_bytes_reader
from blockprofiles.errors import CannotRun
from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.block import Artifact, Block, Exit, Model, TensorSpec

BYTES_PER_BLOCK = 110_000
"""What a block takes beyond the size of its file, from 48 ONNX blocks of 9 to 70 KB and 16 of 2 to 9 MB."""


class Engine(Protocol):
    """What a profile needs of an engine."""

    name: str

    def version(self) -> str:
        """Version of the library underneath."""
        ...

    def load(self, path: Path) -> LoadedBlock:
        """A verified blob as something that runs."""
        ...

    def load_head(self, path: Path) -> LoadedHead:
        """The verified blob of an exit's head as something that runs."""
        ...

    def feed(self, array: npt.NDArray[Any]) -> Any:
        """A frame as the engine's tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One loaded variant."""

    digest: str
    block: LoadedBlock
    memory_bytes: int
    """Resident bytes that one more copy of it added, loaded and run."""


@dataclass(frozen=True, slots=True)
class HeadCandidate:
    """The loaded head of one exit."""

    digest: str
    head: LoadedHead
    inputs: tuple[int, ...]
    """As `Exit.inputs`: it runs after the last of these blocks."""
    memory_bytes: int
    """As `Candidate.memory_bytes`."""


@dataclass(frozen=True, slots=True)
class Bench:
    """For each block of a model the variants that take part, its exits by rising depth, and a frame to run them on."""

    frame: Any
    blocks: tuple[tuple[Candidate, ...], ...]
    heads: tuple[HeadCandidate, ...] = ()


def set_up(
    model: Model,
    engine: Engine,
    path_of: Callable[[str], Path],
    known: Collection[str],
    on_fault: Callable[[str], None],
) -> Bench | None:
    """Load the variants and exits of `model` whose digest is not `known`; a block without such takes a known variant.

    What cannot be loaded or run is told to `on_fault` and left out. None when nothing is left to measure, or when
    some block has no variant that runs.
    """
    if all(artifact.digest in known for artifact in model.artifacts() if artifact.engine == engine.name):
        return None
    frame = tensor = engine.feed(random_frame(model.input))
    blocks: list[tuple[Candidate, ...]] = []
    outputs: list[Any] = []
    for block in model.blocks:
        bench = _Loader(model, block, engine, path_of, tensor)
        candidates = bench.load_all(known, on_fault)
        if not candidates:
            on_fault(f"{model.name}: no variant of block {block.index} runs on {engine.name}: it is left out")
            return None
        blocks.append(tuple(candidates))
        tensor = candidates[0].block.run(tensor)
        outputs.append(tensor)
    heads = tuple(_HeadLoader(model, engine, path_of, outputs).load_all(known, on_fault))
    if not heads and all(candidate.digest in known for candidates in blocks for candidate in candidates):
        return None
    return Bench(frame, tuple(blocks), heads)


def random_frame(spec: TensorSpec) -> npt.NDArray[Any]:
    """A batch of one frame `[1, *shape]`: all values of an integer type are as likely, floats are normal."""
    generator = np.random.default_rng(0)
    dtype = np.dtype(spec.dtype)
    shape = (1, *spec.shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return generator.standard_normal(shape).astype(dtype)


def _artifacts(block: Block, engine: Engine) -> dict[str, Artifact]:
    """Variant name -> what `engine` runs of it, for those that have such."""
    return {v.name: a for v in block.variants if (a := v.artifact(engine.name)) is not None}


@dataclass(frozen=True, slots=True)
class _Loader:
    """Loads the variants of one block; `tensor` is an input of that block."""

    model: Model
    block: Block
    engine: Engine
    path_of: Callable[[str], Path]
    tensor: Any

    def load_all(self, known: Collection[str], on_fault: Callable[[str], None]) -> list[Candidate]:
        artifacts = _artifacts(self.block, self.engine)
        lacking = {name: a for name, a in artifacts.items() if a.digest not in known}
        stand_ins = {name: a for name, a in artifacts.items() if name not in lacking}
        found = [c for name, a in lacking.items() if (c := self._try(name, a, on_fault)) is not None]
        for name, artifact in stand_ins.items():
            if found:
                break
            candidate = self._try(name, artifact, on_fault)
            found = [candidate] if candidate is not None else []
        return found

    def _try(self, variant: str, artifact: Artifact, on_fault: Callable[[str], None]) -> Candidate | None:
        try:
            return self._load(artifact)
        except Exception as error:  # an engine's errors are its own; whatever is wrong with one variant, others go on
            on_fault(f"{self.model.name}: block {self.block.index} variant {variant} is left out: {error}")
            return None

    def _load(self, artifact: Artifact) -> Candidate:
        path = self.path_of(artifact.digest)
        loaded = self.engine.load(path)
        shape = tuple(loaded.run(self.tensor).shape)
        if shape != (1, *self.block.output.shape):
            raise CannotRun(f"its output is {shape}, not {(1, *self.block.output.shape)}")
        return Candidate(artifact.digest, loaded, _memory_bytes(lambda: self._run_copy(path), artifact.size_bytes))

    def _run_copy(self, path: Path) -> LoadedBlock:
        copy = self.engine.load(path)
        copy.run(self.tensor)
        return copy


@dataclass(frozen=True, slots=True)
class _HeadLoader:
    """Loads the heads of a model; `outputs` are those of all its blocks."""

    model: Model
    engine: Engine
    path_of: Callable[[str], Path]
    outputs: Sequence[Any]

    def load_all(self, known: Collection[str], on_fault: Callable[[str], None]) -> Iterator[HeadCandidate]:
        for exit_ in self.model.exits:
            artifact = exit_.artifact(self.engine.name)
            if artifact is None or artifact.digest in known:
                continue
            try:
                yield self._load(exit_, artifact)
            except Exception as error:  # as for a variant
                on_fault(f"{self.model.name}: exit {exit_.name} after block {exit_.block} is left out: {error}")

    def _load(self, exit_: Exit, artifact: Artifact) -> HeadCandidate:
        path = self.path_of(artifact.digest)
        tensors = [self.outputs[block] for block in exit_.inputs]
        loaded, shape = self._run_copy(path, tensors)
        if shape != (1, *self.model.output.shape):
            raise CannotRun(f"its output is {shape}, not {(1, *self.model.output.shape)}")
        memory_bytes = _memory_bytes(lambda: self._run_copy(path, tensors), artifact.size_bytes)
        return HeadCandidate(artifact.digest, loaded, exit_.inputs, memory_bytes)

    def _run_copy(self, path: Path, tensors: Sequence[Any]) -> tuple[LoadedHead, tuple[int, ...]]:
        copy = self.engine.load_head(path)
        output, _ = copy.run(tensors)
        return copy, tuple(output.shape)


def _memory_bytes(run_copy: Callable[[], object], size_bytes: int) -> int:
    """What a second copy adds: the first also pays for what all blocks share (kernels, scratch memory).

    Asked of the allocator, because resident pages come in steps of 4 KB and freed ones are used again: equal runs agree
    within 3% so, and within 30% by resident pages. The sum over a store is that of its resident pages within 3%. Where
    the allocator cannot be asked, an estimate from the size of the file, `size_bytes`. `run_copy` loads a copy, runs it
    and returns it.
    """
    allocated_bytes = allocated_bytes_reader()
    estimate = BYTES_PER_BLOCK + size_bytes
    if allocated_bytes is None:
        return estimate
    before = allocated_bytes()
    _held = run_copy()
    grown = allocated_bytes() - before
    return grown if grown > 0 else estimate
