"""Orders for the builder's workers: tiny networks, small kinds of variants, images on disk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from blockstore.block import TensorSpec
from blockstore.build.craft import Order, craft_all
from blockstore.build.cut import CutBlock, cut
from blockstore.build.export import Forms
from blockstore.build.kinds.base import Declined, Encoded, Material, Reshaped, Reshaping
from blockstore.build.kinds.registry import Recipe
from blockstore.build.retrain import Course
from blockstore.build.tasks.classification import Classification
from tests.blockstore.build import networks

COURSE = Course(epochs=3, batch_size=8, learning_rate=5e-3, patience=9, min_gain=0.0, seed=1, device="cpu")


@dataclass(frozen=True)
class Blurred:
    """A reshaping that keeps the operators and scales their weights."""

    share: float

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        made = copy.deepcopy(module)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(self.share)
        return Reshaped(made.requires_grad_(False), {"share": self.share})


@dataclass(frozen=True)
class Measured:
    """A reshaping that decides by a measurement, other each time: `material.latencies_ms`."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        (share,) = material.latencies_ms([module], block.input)
        return Reshaped(Blurred(share).reshape(block, module, material).module, {"share": share})


@dataclass(frozen=True)
class Surprised:
    """Fails as libraries do."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        raise ValueError("one value per channel\nin a trace of many lines")


@dataclass(frozen=True)
class Unwilling:
    """Declines for block 1."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        if block.index == 1:
            raise Declined("not of this one")
        return Blurred(0.3).reshape(block, module, material)


@dataclass(frozen=True)
class Exploding:
    """Its loss is not a number."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        return Blurred(1e30).reshape(block, module, material)


@dataclass(frozen=True)
class Failing:
    """Has a fault of its own."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        raise ZeroDivisionError("a fault")


@dataclass(frozen=True)
class Marked:
    """An encoding that leaves the torch form out and notes what it could look at."""

    def encode(self, block: CutBlock, module: fx.GraphModule, forms: Forms, material: Material) -> Encoded:
        batches = list(material.batches())
        facts = {
            "score": material.score(module),
            "seen": sum(len(x) for x, _ in batches),
            "as_block": max(float((block.module(x) - y).abs().max()) for x, y in batches),
        }
        return Encoded(replace(forms, torch=None), facts)


def recipe(text: str) -> Recipe:
    """Recipes of the kinds above: `blurred:0.5+marked`."""
    kinds: dict[str, type[Reshaping]] = {
        "unwilling": Unwilling,
        "exploding": Exploding,
        "measured": Measured,
        "failing": Failing,
        "surprised": Surprised,
    }
    reshapings = [
        Blurred(float(step.partition(":")[2])) if step.startswith("blurred") else kinds[step]()
        for step in text.split("+")
        if step != "marked"
    ]
    encoding = Marked() if text.endswith("marked") else None
    return Recipe(text, "+".join(step.partition(":")[0] for step in text.split("+")), tuple(reshapings), encoding)


def constant_ms(modules: Sequence[fx.GraphModule], spec: TensorSpec) -> list[float]:
    return [0.5] * len(modules)


def blocks(network: nn.Module | None = None, count: int = 3) -> tuple[CutBlock, ...]:
    return cut(networks.traced(network or networks.residual()), count, lambda *_: 1.0, lambda *_: True).blocks


def order(folder: Path, *recipes: str, course: Course = COURSE, images: int = 40) -> Order:
    """An order for `blocks()`; images and work lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", networks.frames(images).numpy())
    return Order(
        recipes=tuple(map(recipe, recipes)),
        blocks=3,
        images=folder / "images.npy",
        folder=folder / "work",
        course=course,
        validation_images=8,
        calibration_images=12,
        width_multiple=8,
        task=Classification(),
        outputs=(TensorSpec("float32", (4,)),),
        latencies_ms=constant_ms,
        threads=1,
    )


def main(folder: str, recipes: str, processes: str) -> None:
    """A build in a process of its own, which tells each step in a line."""
    made = order(Path(folder), *recipes.split())
    craft_all(blocks(), made, int(processes), lambda *told: print(*told, flush=True))
