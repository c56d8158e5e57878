"""The manifest: finished variants and what was measured become a model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from blockstore.accuracy_model import LINEAR, AccuracyModel, Evidence
from blockstore.block import ORIGINAL, Model, TensorSpec
from blockstore.build import manifest
from blockstore.build.accuracy import Accuracy
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock, cut
from blockstore.build.export import Forms
from blockstore.build.settings import BuildSettings
from blockstore.build.variants import Finished, keep
from tests.blockstore.build import networks

SETTINGS = BuildSettings("tiny", networks.FRAMES, mean=(0.5,) * 3, std=(0.25,) * 3, seed=7, epochs=3)
EVIDENCE = (Evidence((0, 0), 0.9, False, {"agreement": 1.0}), Evidence((1, 1), 0.7, True, {"agreement": 0.75}))
KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 0.0, ((0.0, 0.1), (0.0, 0.2)), (), 0.01, EVIDENCE)
ACCURACY = Accuracy(KNOWN, ((0.0, 0.1234567), (0.0, 0.2)), additive_error=0.0234567)


class Shelf:
    """Blobs and models in memory."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def put_model(self, model: Model) -> None:
        raise AssertionError("the pipeline does that, last of all")

    def path(self, digest: str) -> Path:
        raise AssertionError("nobody reads here")


def blocks() -> tuple[CutBlock, ...]:
    return cut(networks.traced(networks.residual()), 2, lambda *_: 1.0, lambda *_: True).blocks


def finished(folder: Path) -> list[Finished]:
    return [
        keep(Work(folder), block, name, name, Forms(f"{block} {name}".encode(), torch, 10, 100), {"epochs": 2})
        for block in range(2)
        for name, torch in ((ORIGINAL, f"{block} torch".encode()), ("int8", None))
    ]


def made(
    folder: Path, shelf: Shelf, accuracy: Accuracy = ACCURACY, outputs: tuple[TensorSpec, ...] | None = None
) -> Model:
    given = outputs or (TensorSpec("float32", (4,)),)
    return manifest.model(blocks(), finished(folder), accuracy, given, SETTINGS, ("a", "b"), (24, 20), shelf)


def test_it_can_be_loaded_again_and_its_blobs_are_there(tmp_path: Path) -> None:
    shelf = Shelf()
    model = made(tmp_path, shelf)
    assert Model.from_json(model.to_json()) == model
    assert model.digests() == shelf.blobs.keys()
    assert [[a.engine for a in v.artifacts] for v in model.blocks[0].variants] == [
        ["onnxruntime", "torch"],
        ["onnxruntime"],
    ]
    int8 = model.blocks[1].variant("int8")
    assert shelf.blobs[int8.artifacts[0].digest] == b"1 int8"
    assert int8.artifacts[0].size_bytes == len(b"1 int8")
    assert (int8.parameters, int8.multiply_adds, int8.settings) == (10, 100, {"epochs": 2})


def test_it_says_what_was_measured_and_on_what(tmp_path: Path) -> None:
    model = made(tmp_path, Shelf())
    assert (model.accuracy, model.evaluated_images, model.labels) == (0.9, 20, ("a", "b"))
    assert [[v.accuracy_drop for v in b.variants] for b in model.blocks] == [[0.0, 0.12346], [0.0, 0.2]]
    assert model.accuracy_model == KNOWN
    expected = {"seed": 7, "epochs": 3, "training_images": 24, "routes_checked": 1, "task": "classification"}
    assert model.provenance.items() >= expected.items()
    assert model.provenance["accuracy_model_mae"] == 0.01
    assert model.provenance["sum_of_drops_mae"] == 0.02346


def test_without_checked_routes_it_claims_no_error(tmp_path: Path) -> None:
    unchecked = Accuracy(replace(KNOWN, error=None, evidence=EVIDENCE[:1]), ACCURACY.drops, None)
    model = made(tmp_path, Shelf(), unchecked)
    assert not {"accuracy_model_mae", "sum_of_drops_mae"} & model.provenance.keys()
    assert model.provenance["routes_checked"] == 0
    assert Model.from_json(model.to_json()).accuracy_model == unchecked.model


def test_outputs_are_told_where_there_are_several(tmp_path: Path) -> None:
    assert made(tmp_path, Shelf()).outputs == ()
    several = (TensorSpec("float32", (3,)), TensorSpec("float32", ()))
    assert made(tmp_path, Shelf(), outputs=several).outputs == several


def test_keeping_some_variants_keeps_what_is_known_of_them(tmp_path: Path) -> None:
    model = manifest.keeping(made(tmp_path, Shelf()), ((0, 1), (0,)))
    assert [[v.name for v in b.variants] for b in model.blocks] == [[ORIGINAL, "int8"], [ORIGINAL]]
    assert model.accuracy_model is not None
    assert model.accuracy_model.damages == ((0.0, 0.1), (0.0,))
    assert [e.route for e in model.accuracy_model.evidence] == [(0, 0)]
    assert Model.from_json(model.to_json()) == model


def test_variants_are_grouped_by_block_in_their_order(tmp_path: Path) -> None:
    rows = manifest.by_block(finished(tmp_path))
    assert [[(f.block, f.name) for f in row] for row in rows] == [
        [(0, ORIGINAL), (0, "int8")],
        [(1, ORIGINAL), (1, "int8")],
    ]


def test_blocks_and_variants_that_do_not_match_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        manifest.model(blocks(), finished(tmp_path)[:2], ACCURACY, (), SETTINGS, (), (1, 1), Shelf())
