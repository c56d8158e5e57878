"""Registry: recipes as text, and what is wrong with those that mean nothing."""

from __future__ import annotations

import pytest

from blockstore.build.kinds import registry
from blockstore.build.kinds.base import Encoding, Reshaping
from blockstore.build.kinds.fp16 import Fp16
from blockstore.build.kinds.int8 import Int8
from blockstore.build.kinds.prune import Prune
from blockstore.build.kinds.skip import Skip
from blockstore.errors import CannotBuild

EXAMPLES = {
    "prune": "prune:0.5",
    "skip": "skip:1",
    "dpruner": "dpruner:0.2",
    "tucker2": "tucker2:0.6",
    "fp16": "fp16",
    "fp16-greedy": "fp16-greedy:0.01",
    "int8": "int8",
}


def test_a_recipe_is_reshapings_in_order_and_then_an_encoding() -> None:
    recipe = registry.parse("skip:1+prune:0.5,l2+int8:64")
    assert recipe.reshapings == (Skip(1), Prune(0.5, "l2"))
    assert recipe.encoding == Int8(64)
    assert (recipe.text, recipe.kind) == ("skip:1+prune:0.5,l2+int8:64", "skip+prune+int8")


@pytest.mark.parametrize(
    ("text", "shape"), [("skip:1+prune:0.5+int8", "skip:1+prune:0.5"), ("skip:1", "skip:1"), ("fp16", "original")]
)
def test_recipes_that_differ_in_the_encoding_alone_share_a_shape(text: str, shape: str) -> None:
    assert registry.parse(text).shape == shape


def test_every_kind_is_a_reshaping_or_an_encoding_and_not_both() -> None:
    assert EXAMPLES.keys() == registry.KINDS.keys()
    for text in EXAMPLES.values():
        recipe = registry.parse(text)
        assert [isinstance(k, Encoding) for k in recipe.reshapings] == [False] * len(recipe.reshapings)
        assert len(recipe.reshapings) + (recipe.encoding is not None) == 1
        assert not isinstance(recipe.encoding, Reshaping)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("melt:0.5", "variant 'melt:0.5': there is no kind 'melt', only prune, skip, "),
        ("", "there is no kind ''"),
        ("int8+prune:0.5", "at most one kind sets the precision, and it comes last"),
        ("fp16+int8", "at most one kind sets the precision"),
        ("skip:1+prune:1.5", r"variant 'skip:1\+prune:1.5': the share of filters that goes is '1.5'"),
        ("prune", "0 arguments are given, it is written prune:RATIO"),
    ],
)
def test_what_means_nothing_is_refused_with_the_whole_recipe(text: str, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        registry.parse(text)


def test_a_recipe_is_given_once() -> None:
    assert [r.encoding for r in registry.parse_all(["fp16", "prune:0.5"])] == [Fp16(), None]
    with pytest.raises(CannotBuild, match="variant 'fp16' is given twice"):
        registry.parse_all(["fp16", "prune:0.5", "fp16"])
