"""Shapes: one module for each distinct reshaping, decided once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.kinds.base import Material
from blockstore.build.shapes import NoShape, Shape, file_name, make_shapes
from tests.blockstore.build import crafting, networks

RECIPES = ("blurred:0.5", "blurred:0.5+marked", "marked", "measured", "unwilling")


def material(share: float) -> Material:
    """One by which a measurement gives `share`."""
    return Material(lambda: iter(()), lambda _: 0.0, lambda modules, _: [share] * len(modules), 8, 0)


def made(folder: Path, *recipes: str, share: float = 0.5, block: int = 1) -> tuple[dict[str, Shape | NoShape], int]:
    """The shapes, and how often progress was told."""
    told: list[None] = []
    parsed = [crafting.recipe(text) for text in recipes]
    shapes = make_shapes(crafting.blocks()[block], parsed, material(share), Work(folder), lambda: told.append(None))
    return shapes, len(told)


def test_recipes_that_share_a_shape_have_one_and_the_original_is_first(tmp_path: Path) -> None:
    shapes, told = made(tmp_path, *RECIPES)
    assert list(shapes) == [ORIGINAL, "blurred:0.5", "measured", "unwilling"]
    assert told == 3
    assert shapes["unwilling"] == NoShape("unwilling", "not of this one")


def test_what_a_kind_does_not_foresee_costs_only_its_own_shape(tmp_path: Path) -> None:
    shapes, _ = made(tmp_path, "surprised", "blurred:0.5")
    assert shapes["surprised"] == NoShape("surprised", "ValueError while it was made: one value per channel")
    assert isinstance(shapes["blurred:0.5"], Shape)


def test_equal_modules_have_one_digest(tmp_path: Path) -> None:
    shapes, _ = made(tmp_path, "blurred:0.5", "measured", "blurred:0.7", "blurred:1")
    digests = {name: s.digest for name, s in shapes.items() if isinstance(s, Shape)}
    assert digests["blurred:0.5"] == digests["measured"]
    assert digests["blurred:1"] == digests[ORIGINAL]
    assert len(set(digests.values())) == 3


def test_several_reshapings_follow_one_another_and_their_facts_join(tmp_path: Path) -> None:
    shapes, _ = made(tmp_path, "blurred:0.5+blurred:0.5", "blurred:0.25")
    both, one = shapes["blurred:0.5+blurred:0.5"], shapes["blurred:0.25"]
    assert isinstance(both, Shape)
    assert isinstance(one, Shape)
    assert both.digest == one.digest
    assert both.facts == {"share": 0.5}


def test_what_was_kept_is_not_decided_anew(tmp_path: Path) -> None:
    before, _ = made(tmp_path, *RECIPES, share=0.5)
    after, told = made(tmp_path, *RECIPES, share=0.25)
    assert told == 3
    for name, shape in before.items():
        again = after[name]
        if isinstance(shape, Shape):
            assert isinstance(again, Shape)
            assert (again.digest, again.facts) == (shape.digest, shape.facts)
        else:
            assert again == shape


def test_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    made(tmp_path, "measured", share=0.5)
    (file,) = tmp_path.rglob("measured.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    shapes, _ = made(tmp_path, "measured", share=0.25)
    shape = shapes["measured"]
    assert isinstance(shape, Shape)
    assert shape.facts == {"share": 0.25}


def test_a_kept_module_computes_as_the_one_that_was_made(tmp_path: Path) -> None:
    shapes, _ = made(tmp_path, "blurred:0.5", block=0)
    shape, frames = shapes["blurred:0.5"], networks.frames(2)
    assert isinstance(shape, Shape)
    block = crafting.blocks()[0]
    expected = crafting.Blurred(0.5).reshape(block, block.module, material(0.5)).module(frames)
    assert torch.equal(shape.module(frames), expected)


@pytest.mark.parametrize("text", ["prune:0.5,l2+int8", "a/b", "..", "skip:1@labels"])
def test_a_recipe_is_one_file_name_on_any_system(text: str, tmp_path: Path) -> None:
    name = file_name(text)
    assert not set(name) & set('/\\:*?"<>|')
    (tmp_path / f"{name}.json").write_text("")
    assert [p.parent for p in tmp_path.iterdir()] == [tmp_path]
