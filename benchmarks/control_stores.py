"""Stores of the scenes: one in which memory matters, and such as leave no choice.

Those have one variant of each block, the full one or the smallest, and no exits.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks.cost_stores import cost_store
from blockstore.block import ORIGINAL, Block, Model, Variant
from blockstore.store import Store

CIFAR = ("allcnn", "nin", "vgg16half")
"""25 MB of blocks on frames of 32 x 32; those of the demo are 5 MB, less than what a process grows by in a minute."""
_DROPS = {"prune:0.25": 0.002, "prune:0.5": 0.006, "prune:0.75": 0.02}
"""Accuracy that each block's variant costs. Made up, for nothing was learnt: what is narrower is worse."""
_ACCURACY = 0.9

FULL, SMALLEST = "full", "smallest"
STORES = (FULL, SMALLEST)


def cifar_store(folder: Path) -> Path:
    """Three networks for CIFAR with pruned blocks, at `folder`; their weights are random."""
    cost_store(folder, CIFAR, tuple(_DROPS))
    with Store.open(folder) as store:
        for name in CIFAR:
            model = store.model(name)
            blocks = tuple(
                replace(
                    block,
                    variants=tuple(replace(v, accuracy_drop=_DROPS.get(v.name, 0.0)) for v in block.variants),
                )
                for block in model.blocks
            )
            store.put_model(replace(model, accuracy=_ACCURACY, blocks=blocks, accuracy_model=None))
    return folder


def only_choice(store: Path, folder: Path, which: str) -> Path:
    """A copy of a store with one route a model, made where it is not there yet; `which` is one of `STORES`."""
    if not folder.exists():
        shutil.copytree(store, folder)
        with Store.open(folder) as opened:
            for name in opened.models():
                opened.put_model(_with_one_route(opened.model(name), which))
    return folder


def _with_one_route(model: Model, which: str) -> Model:
    """Its accuracy is what the whole model predicts of that route; the one variant stands where the original did."""
    picks = [_pick(block, which) for block in model.blocks]
    known = model.accuracy_model
    lost = sum(block.variants[pick].accuracy_drop for block, pick in zip(model.blocks, picks, strict=True))
    blocks = tuple(_with_one(block, block.variants[pick]) for block, pick in zip(model.blocks, picks, strict=True))
    accuracy = model.accuracy - lost if known is None else known.predict(picks)
    return replace(model, accuracy=accuracy, blocks=blocks, accuracy_model=None, exits=(), policies=())


def _pick(block: Block, which: str) -> int:
    if which == FULL:
        return 0
    return min(range(len(block.variants)), key=lambda pick: _size_bytes(block.variants[pick]))


def _size_bytes(variant: Variant) -> int:
    return min(artifact.size_bytes for artifact in variant.artifacts)


def _with_one(block: Block, variant: Variant) -> Block:
    return replace(block, variants=(replace(variant, name=ORIGINAL, kind=ORIGINAL, accuracy_drop=0.0),))
