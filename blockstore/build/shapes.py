"""Shapes: the distinct modules behind the recipes of a block, made once and kept before they are trained.

Kinds measure: widths are aligned where that is quicker, on this machine at that moment. A build that goes on after a
kill must not decide anew, so a module is kept as soon as it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from torch import fx

from blockstore import torchform
from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock
from blockstore.build.keep import get_module, put_module
from blockstore.build.kinds.base import FAILURES, Facts, Material, reason_of
from blockstore.build.kinds.registry import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A block as the reshapings of a recipe have left it, not yet retrained."""

    name: str
    """`Recipe.shape`: `prune:0.5`, or `original`."""
    module: fx.GraphModule
    facts: Facts
    digest: str
    """Of operators and weights: recipes that round to the same widths make equal modules."""


@dataclass(frozen=True, slots=True)
class NoShape:
    """A shape that a kind declined to make."""

    name: str
    reason: str


def make_shapes(
    block: CutBlock, recipes: Sequence[Recipe], material: Material, work: Work, progress: Callable[[], None]
) -> dict[str, Shape | NoShape]:
    """The shapes of `recipes` by name, `original` first; `progress` is told of each one."""
    shapes: dict[str, Shape | NoShape] = {ORIGINAL: _shape(ORIGINAL, block.module, {})}
    for recipe in recipes:
        if recipe.shape not in shapes:
            shapes[recipe.shape] = _kept(block, recipe, work) or _made(block, recipe, material, work)
            progress()
    return shapes


def file_name(text: str) -> str:
    """The text of a recipe as a file name on any system."""
    return quote(text, safe="+,")


def _kept(block: CutBlock, recipe: Recipe, work: Work) -> Shape | NoShape | None:
    place = _place(block, recipe)
    declined = work.get_json(f"{place}.declined.json")
    if declined is not None:
        return NoShape(recipe.shape, declined)
    found = get_module(work, place)
    return None if found is None else _shape(recipe.shape, *found)


def _made(block: CutBlock, recipe: Recipe, material: Material, work: Work) -> Shape | NoShape:
    module, facts = block.module, dict[str, float | int | str]()
    place = _place(block, recipe)
    try:
        for kind in recipe.reshapings:
            reshaped = kind.reshape(block, module, material)
            module, facts = reshaped.module, {**facts, **reshaped.facts}
    except FAILURES as failure:
        reason = reason_of(failure)
        work.put_json(f"{place}.declined.json", reason)
        return NoShape(recipe.shape, reason)
    put_module(work, place, module, facts)
    # As a build that goes on will read it: both must end in the same bytes.
    found = get_module(work, place)
    assert found is not None, "it was just kept"
    return _shape(recipe.shape, *found)


def _shape(name: str, module: fx.GraphModule, facts: Facts) -> Shape:
    return Shape(name, module, facts, hashlib.sha256(torchform.save(module)).hexdigest())


def _place(block: CutBlock, recipe: Recipe) -> str:
    return f"shapes/{block.index:03}/{file_name(recipe.shape)}"
