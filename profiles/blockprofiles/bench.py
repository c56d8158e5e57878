"""The variants and exits of one model, loaded and proven to run: what the timing rounds work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from blockprofiles.errors import CannotRun
from blockprofiles.listener import Listener, begun
from blockprofiles.resident import grown_bytes
from blockprofiles.table import Unusable
from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.block import Artifact, Block, Exit, Model, TensorSpec


class Engine(Protocol):
    """What a profile needs of an engine."""

    name: str
    """The `Artifact.engine` that it runs."""
    threads: int
    """Inside one operator."""

    def version(self) -> str:
        """Version of the library underneath."""
        ...

    def load(self, path: Path) -> LoadedBlock:
        """A verified blob as something that runs."""
        ...

    def load_apart(self, path: Path) -> LoadedBlock:
        """As `load`, but with nothing in memory that blocks share: what it keeps can be weighed."""
        ...

    def load_head(self, path: Path) -> LoadedHead:
        """The verified blob of an exit's head as something that runs."""
        ...

    def feed(self, array: npt.NDArray[Any]) -> Any:
        """A frame as the engine's tensor."""
        ...


class Key(NamedTuple):
    """A blob and what runs it."""

    digest: str
    engine: str
    threads: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant, loaded by one engine."""

    key: Key
    block: LoadedBlock
    memory_bytes: int
    """Resident bytes that one more copy of it added, loaded and run."""
    wanted: bool = True
    """Whether it is measured, and does not only stand in so that the others run in whole routes."""


@dataclass(frozen=True, slots=True)
class HeadCandidate:
    """The loaded head of one exit."""

    key: Key
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

    def wanted(self) -> dict[Key, Candidate | HeadCandidate]:
        """All that are measured."""
        found: dict[Key, Candidate | HeadCandidate] = {}
        for candidates in self.blocks:
            found |= {candidate.key: candidate for candidate in candidates if candidate.wanted}
        return found | {head.key: head for head in self.heads}


@dataclass(frozen=True, slots=True)
class Setting:
    """How models are set up: what loads blobs, from where, which of them are measured, and who is told.

    The first of `engines` makes the tensors; the others take and give those. Heads run on the first.
    """

    engines: Sequence[Engine]
    path_of: Callable[[str], Path]
    wanted: Callable[[Key], bool]
    unusable: Callable[[str], bool]
    """Whether a digest is known to be so: it is not touched again."""
    listener: Listener
    faults: list[str] = field(default_factory=list)
    """In words what was left out."""
    found_unusable: list[Unusable] = field(default_factory=list)

    def leave_out(self, what: str, key: Key, error: Exception) -> None:
        """`what`, a variant or an exit, cannot be used; no other engine of that name is to try the blob either.

        Where the first engine of that name ran it, only this one cannot.
        """
        reason = f"{what} is left out: {error}"
        self.faults.append(reason)
        first = next(e for e in self.engines if e.name == key.engine)
        if key.threads == first.threads:
            unusable = Unusable(key.digest, reason)
            self.found_unusable.append(unusable)
            self.listener.fault(unusable)


def set_up(model: Model, setting: Setting) -> Bench | None:
    """Load the variants and exits of `model` that are wanted; a block without such takes one that is not.

    None when nothing of it is wanted, or when some block has no variant that runs.
    """
    if not any(setting.wanted(key) for key in _keys(model, setting)):
        return None
    frame = tensor = setting.engines[0].feed(random_frame(model.input))
    blocks: list[tuple[Candidate, ...]] = []
    outputs: list[Any] = []
    for block in model.blocks:
        candidates = tuple(_Loader(model, block, setting, tensor).load_all())
        if not candidates:
            setting.faults.append(f"{model.name}: no variant of block {block.index} runs: it is left out")
            return None
        blocks.append(candidates)
        tensor = candidates[0].block.run(tensor)
        outputs.append(tensor)
    bench = Bench(frame, tuple(blocks), tuple(_HeadLoader(model, setting, outputs).load_all()))
    return bench if bench.wanted() else None


def random_frame(spec: TensorSpec) -> npt.NDArray[Any]:
    """A batch of one frame `[1, *shape]`: all values of an integer type are as likely, floats are normal."""
    generator = np.random.default_rng(0)
    dtype = np.dtype(spec.dtype)
    shape = (1, *spec.shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return generator.standard_normal(shape).astype(dtype)


def _keys(model: Model, setting: Setting) -> Iterator[Key]:
    main = setting.engines[0]
    for block in model.blocks:
        for _, artifact, engine in _runnable(block, setting):
            yield Key(artifact.digest, engine.name, engine.threads)
    for exit_ in model.exits:
        artifact_ = exit_.artifact(main.name)
        if artifact_ is not None and not setting.unusable(artifact_.digest):
            yield Key(artifact_.digest, main.name, main.threads)


def _runnable(block: Block, setting: Setting) -> Iterator[tuple[str, Artifact, Engine]]:
    """Name of each variant with an artifact and each engine that runs it, those of the first engine first."""
    for engine in setting.engines:
        for variant in block.variants:
            artifact = variant.artifact(engine.name)
            if artifact is not None and not setting.unusable(artifact.digest):
                yield variant.name, artifact, engine


@dataclass(frozen=True, slots=True)
class _Loader:
    """Loads the variants of one block; `tensor` is an input of that block."""

    model: Model
    block: Block
    setting: Setting
    tensor: Any

    def load_all(self) -> list[Candidate]:
        found: list[Candidate] = []
        for stand_ins in (False, True):
            for name, artifact, engine in _runnable(self.block, self.setting):
                if stand_ins and found:
                    break
                key = Key(artifact.digest, engine.name, engine.threads)
                candidate = self._try(name, key, engine, artifact) if self.setting.wanted(key) != stand_ins else None
                found += [candidate] if candidate is not None else []
        return found

    def _try(self, variant: str, key: Key, engine: Engine, artifact: Artifact) -> Candidate | None:
        try:
            with begun(key.digest, self.setting.listener):
                return self._load(key, engine, artifact)
        except Exception as error:  # an engine's errors are its own; whatever is wrong with one variant, others go on
            self.setting.leave_out(f"{self.model.name}: block {self.block.index} variant {variant}", key, error)
            return None

    def _load(self, key: Key, engine: Engine, artifact: Artifact) -> Candidate:
        path = self.setting.path_of(key.digest)
        loaded = engine.load(path)
        shape = tuple(loaded.run(self.tensor).shape)
        if shape != (1, *self.block.output.shape):
            raise CannotRun(f"its output is {shape}, not {(1, *self.block.output.shape)}")

        def run_copy() -> LoadedBlock:
            copy = engine.load_apart(path)
            copy.run(self.tensor)
            return copy

        return Candidate(key, loaded, grown_bytes(run_copy, artifact.size_bytes), self.setting.wanted(key))


@dataclass(frozen=True, slots=True)
class _HeadLoader:
    """Loads the heads of a model; `outputs` are those of all its blocks."""

    model: Model
    setting: Setting
    outputs: Sequence[Any]

    def load_all(self) -> Iterator[HeadCandidate]:
        engine = self.setting.engines[0]
        for exit_ in self.model.exits:
            artifact = exit_.artifact(engine.name)
            key = Key(artifact.digest if artifact else "", engine.name, engine.threads)
            if artifact is None or self.setting.unusable(key.digest) or not self.setting.wanted(key):
                continue
            try:
                with begun(key.digest, self.setting.listener):
                    candidate = self._load(exit_, key, engine, artifact)
            except Exception as error:  # as for a variant
                self.setting.leave_out(f"{self.model.name}: exit {exit_.name} after block {exit_.block}", key, error)
            else:
                yield candidate

    def _load(self, exit_: Exit, key: Key, engine: Engine, artifact: Artifact) -> HeadCandidate:
        path = self.setting.path_of(key.digest)
        tensors = [self.outputs[block] for block in exit_.inputs]

        def run_copy() -> tuple[LoadedHead, tuple[int, ...]]:
            copy = engine.load_head(path)
            output, _ = copy.run(tensors)
            return copy, tuple(output.shape)

        loaded, shape = run_copy()
        if shape != (1, *self.model.output.shape):
            raise CannotRun(f"its output is {shape}, not {(1, *self.model.output.shape)}")
        return HeadCandidate(key, loaded, exit_.inputs, grown_bytes(run_copy, artifact.size_bytes))
