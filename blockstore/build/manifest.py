"""The manifest of a build: exported variants and measured accuracy become one `Model`."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime
import torch
from torch import fx

from blockstore.block import ORIGINAL, Artifact, Block, Model, Variant
from blockstore.build.cut import CutBlock
from blockstore.build.evaluate import Accuracy
from blockstore.build.export import Forms
from blockstore.build.prune import Pruned
from blockstore.build.retrain import Losses
from blockstore.build.settings import BuildSettings

PRUNED = "pruned"
"""Kind of a variant with fewer filters."""


class Sink(Protocol):
    """What a build needs of a block store."""

    def put_blob(self, data: bytes) -> str:
        """Keep `data`; returns its digest."""
        ...

    def put_model(self, model: Model) -> None:
        """Publish `model`, whose blobs are all there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One variant of a block on its way into the store; the original has no `pruned`."""

    block: CutBlock
    name: str
    module: fx.GraphModule
    pruned: Pruned | None


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A candidate in the forms that engines run."""

    candidate: Candidate
    forms: Forms


def model(
    exported: Sequence[Exported],
    losses: Losses,
    accuracy: Accuracy,
    settings: BuildSettings,
    classes: tuple[str, ...],
    images: tuple[int, int],
    store: Sink,
) -> Model:
    """The model of all `exported` variants, whose blobs are put in `store`; `images` counts training and held-out."""
    blocks = []
    for row, drops in zip(by_block(exported), accuracy.drops, strict=True):
        block = row[0].candidate.block
        variants = [_variant(e, drop, losses, store) for e, drop in zip(row, drops, strict=True)]
        blocks.append(Block(block.index, block.name, block.input, block.output, tuple(variants)))
    return Model(
        name=settings.name,
        input=settings.input,
        output=blocks[-1].output,
        accuracy=accuracy.original,
        evaluated_images=images[1],
        blocks=tuple(blocks),
        labels=classes,
        provenance=_provenance(settings, accuracy, images[0]),
    )


def by_block(exported: Sequence[Exported]) -> list[list[Exported]]:
    """Variants of each block, in order."""
    return [list(row) for _, row in itertools.groupby(exported, key=lambda e: e.candidate.block.index)]


def _variant(exported: Exported, drop: float, losses: Losses, store: Sink) -> Variant:
    candidate, forms = exported.candidate, exported.forms
    artifacts = tuple(
        Artifact(engine, store.put_blob(data), len(data))
        for engine, data in (("onnxruntime", forms.onnx), ("torch", forms.torch))
    )
    return Variant(
        name=candidate.name,
        kind=PRUNED if candidate.pruned else ORIGINAL,
        artifacts=artifacts,
        accuracy_drop=round(drop, 5),
        parameters=forms.parameters,
        multiply_adds=forms.multiply_adds,
        settings=_settings(candidate, losses),
    )


def _settings(candidate: Candidate, losses: Losses) -> dict[str, float | int | str]:
    """How a pruned variant was made; `output_error` is its mean squared error over the variance of the original."""
    pruned = candidate.pruned
    if pruned is None:
        return {}
    made: dict[str, float | int | str] = {
        "ratio": pruned.ratio,
        "filters_before": pruned.filters_before,
        "filters_after": pruned.filters_after,
    }
    error = losses.get((candidate.block.index, candidate.name))
    return made if error is None else {**made, "output_error": round(error, 5)}


def _provenance(settings: BuildSettings, accuracy: Accuracy, training_images: int) -> dict[str, str | int | float]:
    return {
        "tool": "schedulerd build",
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "seed": settings.seed,
        "epochs": settings.epochs,
        "importance": settings.importance,
        "width_multiple": settings.width_multiple,
        "training_images": training_images,
        "route_accuracy_mae": round(accuracy.error, 5),
        "route_accuracy_mae_averaged_drops": round(accuracy.averaged_error, 5),
        "routes_checked": accuracy.checked_routes,
    }
