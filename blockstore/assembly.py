"""Blocks to a runnable route: one variant chosen for each block of a model, loaded, and run one after another.

Engine-free: what turns the blob of a variant into something that runs is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from blockstore.block import Artifact, Block, Model, Variant
from blockstore.errors import MissingVariant


class LoadedBlock(Protocol):
    """A variant in memory, ready to run; several threads may run it at once."""

    def run(self, tensor: Any) -> Any:
        """Compute the block's output `[batch, ...]` from its input `[batch, ...]`.

        The input is not changed.
        """
        ...


class LoadedHead(Protocol):
    """The head of an exit in memory, ready to run; several threads may run it at once."""

    def run(self, tensors: Sequence[Any]) -> tuple[Any, float]:
        """What the network would give, `[1, ...]`, from the outputs of the blocks `Exit.inputs`, each `[1, ...]`.

        And how sure the head is of it: 0 to 1, NaN where it gave a NaN. The tensors are not changed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """A block with the variant chosen for it and the form of that variant that the engine executes."""

    block: Block
    variant: Variant
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Chain:
    """The loaded blocks of one route, in order.

    The executor runs `blocks` one at a time and decides again between two of them; `run` is for whoever wants
    the whole route at once.
    """

    blocks: tuple[LoadedBlock, ...]

    def run(self, tensor: Any) -> Any:
        """The route's output `[batch, ...]` for the model's input `[batch, ...]`, both the engine's tensors."""
        for block in self.blocks:
            tensor = block.run(tensor)
        return tensor


def assemble(model: Model, variants: Sequence[str], engine: str) -> tuple[Part, ...]:
    """Choose one variant for each block, by name and in block order.

    Raises `MissingVariant` for a wrong number of names, an unknown one, or one without an artifact for
    `engine`.
    """
    if len(variants) != len(model.blocks):
        raise MissingVariant(
            f"model {model.name!r} has {len(model.blocks)} blocks, {len(variants)} variants were named; name one each"
        )
    return tuple(_part(model, block, name, engine) for block, name in zip(model.blocks, variants, strict=True))


def load_chain(parts: Sequence[Part], load: Callable[[Artifact], LoadedBlock]) -> Chain:
    """Load every part in order; equal artifacts are loaded once and shared. Errors of `load` pass."""
    loaded: dict[str, LoadedBlock] = {}
    for part in parts:
        if part.artifact.digest not in loaded:
            loaded[part.artifact.digest] = load(part.artifact)
    return Chain(tuple(loaded[part.artifact.digest] for part in parts))


def _part(model: Model, block: Block, name: str, engine: str) -> Part:
    variant = next((v for v in block.variants if v.name == name), None)
    where = f"block {block.index} ({block.name}) of model {model.name!r}"
    if variant is None:
        known = ", ".join(v.name for v in block.variants)
        raise MissingVariant(f"{where} has no variant {name!r}; it has {known}")
    artifact = variant.artifact(engine)
    if artifact is None:
        engines = ", ".join(a.engine for a in variant.artifacts) or "no engine"
        raise MissingVariant(f"{where}: variant {name!r} has no artifact for {engine}, only for {engines}")
    return Part(block, variant, artifact)
