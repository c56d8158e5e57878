"""Fine-tune: a route learns from labels as a whole, and its parts become further variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from blockstore import torchform
from blockstore.build import finetune
from blockstore.build.craft import Order, craft_all
from blockstore.build.images import Labelled
from blockstore.build.kinds import registry
from blockstore.build.progress import silent
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.embedding import Embedding
from blockstore.build.variants import Finished
from blockstore.errors import CannotBuild
from tests.blockstore.build import crafting

RECIPES = ("prune:0.5", "prune:0.5+int8")
LABELS = np.arange(40) % 4


def made(folder: Path) -> tuple[Order, tuple[Finished, ...]]:
    order = replace(crafting.order(folder), recipes=registry.parse_all(RECIPES), width_multiple=1)
    finished, _ = craft_all(crafting.blocks(), order, 1, silent)
    return order, finished


def refined(order: Order, finished: tuple[Finished, ...], seen: list[int] | None = None) -> tuple[Finished, ...]:
    def told(stage: str, done: int, total: int, note: str = "") -> None:
        if seen is not None:
            seen.append(done)

    everyone, lost = finetune.refine_all(("prune:0.5",), crafting.blocks(), finished, order, LABELS, told)
    assert not lost
    return everyone


def cross_entropy(order: Order, finished: tuple[Finished, ...], name: str) -> float:
    parts = {f.block: f for f in finished if f.name == "original"} | {f.block: f for f in finished if f.name == name}
    x = torch.from_numpy(np.load(order.images))
    for block in sorted(parts):
        form = parts[block].forms().torch
        assert form is not None
        x = torchform.load(form)(x)
    return float(functional.cross_entropy(x, torch.from_numpy(LABELS)))


def test_the_refined_route_fits_the_labels_better_and_stands_beside_the_others(tmp_path: Path) -> None:
    order, finished = made(tmp_path)
    everyone = refined(order, finished)
    assert all(f in everyone for f in finished)
    new = [f for f in everyone if f not in finished]
    assert {f.name for f in new} == {"prune:0.5@labels", "prune:0.5+int8@labels"}
    assert {f.kind for f in new} == {"prune@labels", "prune+int8@labels"}
    assert [f.block for f in everyone] == sorted(f.block for f in everyone)
    assert next(f.name for f in everyone if f.block == 0) == "original"
    after, before = (cross_entropy(order, everyone, name) for name in ("prune:0.5@labels", "prune:0.5"))
    assert after < before


def test_what_is_refined_is_not_refined_again(tmp_path: Path) -> None:
    order, finished = made(tmp_path)
    seen: list[int] = []
    first = refined(order, finished, seen)
    steps = len(seen)
    assert steps > 0
    assert refined(order, finished, seen) == first
    assert len(seen) == steps


def test_a_loss_that_is_no_number_leaves_the_others_alone(tmp_path: Path) -> None:
    order, finished = made(tmp_path)
    wild = replace(order, course=replace(order.course, learning_rate=1e30))
    everyone, lost = finetune.refine_all(("prune:0.5",), crafting.blocks(), finished, wild, LABELS, silent)
    assert everyone == finished
    assert {(gone.block, gone.name) for gone in lost} == {
        (f.block, f"{recipe}@labels") for f in finished if f.name == "prune:0.5" for recipe in RECIPES
    }
    assert all("lower the learning rate" in gone.reason for gone in lost)


@pytest.mark.parametrize(
    ("shapes", "task", "labels", "message"),
    [
        (("skip:1",), Classification(), LABELS, "none of the variants in full precision: prune:0.5"),
        (("prune:0.5+int8",), Classification(), LABELS, "none of the variants in full precision"),
        (("prune:0.5",), Embedding(), LABELS, "labels of classes"),
        (("prune:0.5",), Classification(), LABELS + 1, "from 1 to 4, for 4 classes they are from 0 to 3"),
        (("prune:0.5",), Classification(), None, "a class for each"),
    ],
)
def test_what_cannot_be_refined_is_refused_before_any_work(
    shapes: tuple[str, ...], task: object, labels: np.ndarray | None, message: str
) -> None:
    training = Labelled(np.zeros((40, 2, 2, 3), np.uint8), labels)
    with pytest.raises(CannotBuild, match=message):
        finetune.check(shapes, registry.parse_all(RECIPES), task, training, 4)  # type: ignore[arg-type]  # one of two


def test_without_shapes_no_labels_are_needed() -> None:
    finetune.check((), registry.parse_all(RECIPES), Embedding(), Labelled(np.zeros((4, 2, 2, 3), np.uint8)), 0)
