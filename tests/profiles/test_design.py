"""Which variants a quick profile measures."""

from __future__ import annotations

from blockprofiles.design import designed_subset
from blockprofiles.operators import Operator
from tests.profiles.scripted import model_of
from tests.profiles.test_regression import SPATIAL, convolution

ENGINE = "scripted"
WIDE, TWIN, SLIGHTLY, NARROW = (convolution(SPATIAL, channels) for channels in (64, 64, 60, 16))
INTEGER = Operator("QLinearConv/spatial", WIDE.inputs, WIDE.outputs, WIDE.moved_bytes // 4, 0, WIDE.multiply_adds, 16)
KNOWN = {"wide": (WIDE,), "twin": (TWIN,), "slightly": (SLIGHTLY,), "narrow": (NARROW,), "integer": (INTEGER,)}


def test_the_original_of_each_block_is_measured_though_it_be_the_twin_of_another() -> None:
    assert designed_subset([model_of(("wide",), ("twin",))], ENGINE, KNOWN) == {"wide", "twin"}


def test_what_is_like_a_measured_variant_is_not_measured() -> None:
    assert designed_subset([model_of(("wide", "twin", "slightly"))], ENGINE, KNOWN) == {"wide"}


def test_extremes_and_other_types_of_operators_are_measured() -> None:
    chosen = designed_subset([model_of(("wide", "slightly", "narrow", "integer"))], ENGINE, KNOWN)
    assert chosen == {"wide", "narrow", "integer"}


def test_one_model_saves_measurements_of_another() -> None:
    models = [model_of(("wide", "narrow"), name="a"), model_of(("twin", "narrow2"), name="b")]
    assert designed_subset(models, ENGINE, {**KNOWN, "narrow2": (NARROW,)}) == {"wide", "twin", "narrow"}


def test_a_blob_without_operators_is_taken_as_its_manifest_says() -> None:
    """All blobs of the scripted model have equal manifests, so the original stands for them."""
    assert designed_subset([model_of(("a", "b", "c"))], ENGINE, {}) == {"a"}


def test_exits_are_chosen_too() -> None:
    model = model_of(("wide",), ("twin",), exits={"exit": (0,)})
    assert "exit" in designed_subset([model], ENGINE, {**KNOWN, "exit": (NARROW,)})


def test_nothing_is_chosen_for_an_engine_that_runs_nothing_of_it() -> None:
    assert designed_subset([model_of(("wide",))], "torch", KNOWN) == frozenset()
