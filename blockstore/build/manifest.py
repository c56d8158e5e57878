"""The manifest of a build: finished variants and measured accuracy become one `Model`."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch

from blockstore.block import Artifact, Block, Model, TensorSpec, Variant
from blockstore.build.accuracy import Accuracy
from blockstore.build.cut import CutBlock
from blockstore.build.settings import BuildSettings
from blockstore.build.variants import Finished


class Sink(Protocol):
    """What a build needs of a block store."""

    def put_blob(self, data: bytes) -> str:
        """Keep `data`; returns its digest."""
        ...

    def put_model(self, model: Model) -> None:
        """Publish `model`, whose blobs are all there."""
        ...

    def path(self, digest: str) -> Path:
        """The file of a blob."""
        ...


def by_block(finished: Iterable[Finished]) -> list[list[Finished]]:
    """Variants of each block, in order, the original first."""
    return [list(row) for _, row in itertools.groupby(finished, key=lambda f: f.block)]


def model(
    cut: Sequence[CutBlock],
    finished: Iterable[Finished],
    accuracy: Accuracy,
    outputs: tuple[TensorSpec, ...],
    settings: BuildSettings,
    classes: tuple[str, ...],
    images: tuple[int, int],
    store: Sink,
) -> Model:
    """The model of all `finished` variants, whose blobs are put in `store`; `images` counts training and held-out."""
    blocks = []
    for block, row, drops in zip(cut, by_block(finished), accuracy.drops, strict=True):
        variants = [_variant(f, drop, store) for f, drop in zip(row, drops, strict=True)]
        blocks.append(Block(block.index, block.name, block.input, block.output, tuple(variants)))
    return Model(
        name=settings.name,
        input=settings.input,
        output=blocks[-1].output,
        accuracy=accuracy.model.original,
        evaluated_images=images[1],
        blocks=tuple(blocks),
        labels=classes,
        provenance=_provenance(settings, accuracy, images[0]),
        outputs=outputs if len(outputs) > 1 else (),
        accuracy_model=accuracy.model,
    )


def keeping(model: Model, kept: Sequence[Sequence[int]]) -> Model:
    """`model` when block `b` keeps only the variants `kept[b]`."""
    blocks = [
        replace(block, variants=tuple(block.variants[i] for i in keep))
        for block, keep in zip(model.blocks, kept, strict=True)
    ]
    known = model.accuracy_model.keeping(kept) if model.accuracy_model else None
    return replace(model, blocks=tuple(blocks), accuracy_model=known)


def _variant(finished: Finished, drop: float, store: Sink) -> Variant:
    forms = finished.forms()
    written = [("onnxruntime", forms.onnx), *([("torch", forms.torch)] if forms.torch is not None else [])]
    return Variant(
        name=finished.name,
        kind=finished.kind,
        artifacts=tuple(Artifact(engine, store.put_blob(data), len(data)) for engine, data in written),
        accuracy_drop=round(drop, 5),
        parameters=finished.parameters,
        multiply_adds=finished.multiply_adds,
        settings=dict(finished.facts),
    )


def _provenance(settings: BuildSettings, accuracy: Accuracy, training_images: int) -> dict[str, str | int | float]:
    return {
        "tool": "schedulerd build",
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "task": settings.task,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "training_images": training_images,
        **_errors(accuracy),
        "routes_checked": sum(e.checked for e in accuracy.model.evidence),
    }


def _errors(accuracy: Accuracy) -> dict[str, float]:
    """How far predictions are off, where there were routes to check them on."""
    if accuracy.model.error is None or accuracy.additive_error is None:
        return {}
    return {"accuracy_model_mae": accuracy.model.error, "sum_of_drops_mae": round(accuracy.additive_error, 5)}
