"""The blobs of a model for one engine, and what its manifest alone says of the cost of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockprofiles.operators import Operator, whole
from blockstore.block import Model, Variant


@dataclass(frozen=True, slots=True)
class Blob:
    """A variant or the head of an exit, for one engine."""

    digest: str
    model: str
    whole: tuple[Operator, ...]
    """It as one operator."""


def blobs_of(model: Model, engine: str) -> Iterator[Blob]:
    """Of all variants, then of all exits, that `engine` runs."""
    for block in model.blocks:
        for variant in block.variants:
            artifact = variant.artifact(engine)
            if artifact is not None:
                taken = whole(artifact, _precision(variant), [block.input], block.output, variant.multiply_adds)
                yield Blob(artifact.digest, model.name, taken)
    for head in model.exits:
        artifact = head.artifact(engine)
        if artifact is not None:
            inputs = [model.blocks[index].output for index in head.inputs]
            yield Blob(artifact.digest, model.name, whole(artifact, "head", inputs, model.output, head.multiply_adds))


def _precision(variant: Variant) -> str:
    """Integers are computed otherwise; half precision is only how a file is kept."""
    return "integer" if "int8" in variant.kind else "float"
