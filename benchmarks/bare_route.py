"""A model's original blocks as one chain in this process: what every server adds its own cost to."""

from __future__ import annotations

from pathlib import Path

from blockstore.assembly import Chain, assemble, load_chain
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxEngine


def original_chain(root: Path, name: str) -> Chain:
    """The chain of the model `name` of the store at `root`, each block on one thread."""
    engine = OnnxEngine(threads=1)
    with Store.open(root) as store:
        model = store.model(name)
        parts = assemble(model, [b.variants[0].name for b in model.blocks], engine.name)
        return load_chain(parts, lambda artifact: engine.load(store.path(artifact.digest)))


def input_shape(root: Path, name: str) -> tuple[int, ...]:
    """`[1, h, w, c]` of the frames of a model."""
    with Store.open(root) as store:
        return (1, *store.model(name).input.shape)
