"""Encode: retrained shapes become variants, in the forms and the precision that their recipes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor, fx

from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms, export
from blockstore.build.kinds.base import FAILURES, Declined, Facts, Material, reason_of
from blockstore.build.kinds.registry import Recipe
from blockstore.build.shapes import NoShape, Shape
from blockstore.build.student import Student
from blockstore.build.variants import drop, keep
from blockstore.errors import CannotBuild

SAMPLES: Final = 8
"""Frames on which the forms of a variant are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """One block with what is being made of it."""

    block: CutBlock
    material: Material
    inputs: Tensor
    """What the block gets for some frames."""
    shapes: Mapping[str, Shape | NoShape]
    """By `Recipe.shape`, the original among them."""
    students: Mapping[str, Student]
    """By the digest of the shape that they began as: equal shapes have one. The original has none."""


def encode(bench: Bench, recipes: Sequence[Recipe], missing: Sequence[str], work: Work) -> Iterator[str]:
    """Make and keep the `missing` variants of a block, or the reason why there is none; yields each name after that.

    Raises `CannotBuild` where the original has no form that an engine runs, or the disk is full.
    """
    index, forms = bench.block.index, dict[str, Forms]()
    if ORIGINAL in missing:
        keep(work, index, ORIGINAL, ORIGINAL, _forms(bench, _shape(bench, ORIGINAL), forms), {})
        yield ORIGINAL
    for recipe in recipes:
        if recipe.text not in missing:
            continue
        try:
            made, facts = _make(bench, recipe, forms)
        except FAILURES as failure:
            drop(work, index, recipe.text, reason_of(failure))
        else:
            keep(work, index, recipe.text, recipe.kind, made, facts)
        yield recipe.text


def _make(bench: Bench, recipe: Recipe, known: dict[str, Forms]) -> tuple[Forms, Facts]:
    """Raises `Declined`."""
    shape = _shape(bench, recipe.shape)
    module, facts = _trained(bench, shape)
    forms = _forms(bench, shape, known)
    if recipe.encoding is None:
        return forms, facts
    encoded = recipe.encoding.encode(bench.block, module, forms, bench.material)
    return encoded.forms, {**facts, **encoded.facts}


def _shape(bench: Bench, name: str) -> Shape:
    shape = bench.shapes[name]
    if isinstance(shape, NoShape):
        raise Declined(shape.reason)
    return shape


def _trained(bench: Bench, shape: Shape) -> tuple[fx.GraphModule, Facts]:
    """The module of `shape` after its training, and how it was made."""
    student = bench.students.get(shape.digest)
    if student is None:
        return shape.module, shape.facts
    if student.fault is not None:
        raise Declined(student.fault)
    learned = {
        "error_before_retraining": _rounded(student.errors[0]),
        "neck_error" if student.at_neck else "output_error": _rounded(min(student.errors)),
        "epochs": student.epoch,
    }
    return student.graduate(), {**shape.facts, **learned}


def _forms(bench: Bench, shape: Shape, known: dict[str, Forms]) -> Forms:
    """Forms of `shape` in full precision, made once."""
    if shape.digest not in known:
        module, _ = _trained(bench, shape)
        try:
            known[shape.digest] = export(module, bench.block.input, bench.inputs)
        except CannotBuild as error:
            if shape.name == ORIGINAL:
                raise
            raise Declined(str(error)) from error
    return known[shape.digest]


def _rounded(error: float) -> float:
    return float(f"{error:.4g}")
