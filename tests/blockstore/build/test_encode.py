"""Encode: what was trained becomes files with the facts of how, or a reason."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from blockstore import torchform
from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.encode import Bench, encode
from blockstore.build.kinds.base import Material
from blockstore.build.neck import where_to_learn
from blockstore.build.shapes import Shape, make_shapes
from blockstore.build.student import Student
from blockstore.build.variants import Dropped, Finished, find
from blockstore.errors import CannotBuild
from tests.blockstore.build import crafting, networks

RECIPES = tuple(map(crafting.recipe, ("blurred:0.5", "blurred:0.5+marked", "exploding", "unwilling+marked", "marked")))
NAMES = (ORIGINAL, *(recipe.text for recipe in RECIPES))


def bench(folder: Path, index: int) -> Bench:
    """Block `index` with a student that has learnt, and one at fault."""
    block = crafting.blocks()[index]
    x = networks.frames(4)
    for before in crafting.blocks()[:index]:
        x = before.module(x)
    y = block.module(x)
    material = Material(lambda: iter([(x, y)]), lambda _: 0.75, crafting.constant_ms, 8, 0)
    shapes = make_shapes(block, RECIPES, material, Work(folder), lambda: None)
    students = {}
    for name in ("blurred:0.5", "exploding"):
        shape = shapes[name]
        assert isinstance(shape, Shape)
        up_to = where_to_learn(shape.module, block.module, block.input)
        students[shape.digest] = student = Student(shape.digest, shape.module, "cpu", up_to)
        student.note(0.12345678)
        student.epoch = 1
        student.note(0.012345678 if name == "blurred:0.5" else float("nan"))
    return Bench(block, material, x, shapes, students)


def test_every_missing_variant_is_kept_before_it_is_named(tmp_path: Path) -> None:
    work = Work(tmp_path)
    for count, name in enumerate(encode(bench(tmp_path, 0), RECIPES, NAMES, work), start=1):
        assert name == NAMES[count - 1]
        assert [find(work, 0, n) is not None for n in NAMES] == [position < count for position in range(len(NAMES))]


def test_only_missing_variants_are_made(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert list(encode(bench(tmp_path, 0), RECIPES, ("marked",), work)) == ["marked"]
    assert [name for name in NAMES if find(work, 0, name)] == ["marked"]


def test_facts_tell_shape_training_and_encoding(tmp_path: Path) -> None:
    work = Work(tmp_path)
    list(encode(bench(tmp_path, 0), RECIPES, NAMES, work))
    found = find(work, 0, "blurred:0.5+marked")
    assert isinstance(found, Finished)
    learned = {"error_before_retraining": 0.1235, "output_error": 0.01235, "epochs": 1}
    assert found.facts == {"share": 0.5, **learned, "score": 0.75, "seen": 4, "as_block": 0.0}


def test_an_error_at_the_neck_is_not_told_as_one_at_the_output(tmp_path: Path) -> None:
    (block,) = crafting.blocks(count=1)
    module = copy.deepcopy(block.module)
    student = Student("d", module, "cpu", where_to_learn(module, block.module, block.input))
    student.note(0.25)
    shapes = {"blurred:0.5": Shape("blurred:0.5", module, {}, "d")}
    material = Material(lambda: iter(()), lambda _: 0.0, crafting.constant_ms, 8, 0)
    tested = Bench(block, material, networks.frames(2), shapes, {"d": student})
    list(encode(tested, RECIPES[:1], ("blurred:0.5",), Work(tmp_path)))
    found = find(Work(tmp_path), 0, "blurred:0.5")
    assert isinstance(found, Finished)
    assert found.facts == {"error_before_retraining": 0.25, "neck_error": 0.25, "epochs": 0}


def test_a_fault_and_a_shape_that_was_declined_are_reasons(tmp_path: Path) -> None:
    work = Work(tmp_path)
    list(encode(bench(tmp_path, 1), RECIPES, NAMES, work))
    assert find(work, 1, "unwilling+marked") == Dropped(1, "unwilling+marked", "not of this one")
    fault = find(work, 1, "exploding")
    assert isinstance(fault, Dropped)
    assert "its error became nan" in fault.reason


def test_an_original_whose_forms_differ_ends_the_build_and_a_variant_does_not(tmp_path: Path) -> None:
    tested, work = bench(tmp_path, 1), Work(tmp_path)
    ruined = Bench(tested.block, tested.material, tested.inputs * float("nan"), tested.shapes, tested.students)
    assert list(encode(ruined, RECIPES, ("blurred:0.5",), work)) == ["blurred:0.5"]
    variant = find(work, 1, "blurred:0.5")
    assert isinstance(variant, Dropped)
    assert "differs from torch by nan" in variant.reason
    with pytest.raises(CannotBuild, match="differs from torch by nan"):
        list(encode(ruined, RECIPES, NAMES, work))


def test_the_trained_weights_are_what_is_written(tmp_path: Path) -> None:
    tested = bench(tmp_path, 0)
    list(encode(tested, RECIPES, ("blurred:0.5",), Work(tmp_path)))
    found = find(Work(tmp_path), 0, "blurred:0.5")
    assert isinstance(found, Finished)
    data = found.forms().torch
    assert data is not None
    shape = tested.shapes["blurred:0.5"]
    assert isinstance(shape, Shape)
    expected = tested.students[shape.digest].graduate()(networks.frames(2))
    assert torch.equal(torchform.load(data)(networks.frames(2)), expected)
