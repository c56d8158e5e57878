"""The manifest: what a model with several outputs says of them, and what is known of its accuracy."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from blockstore.accuracy_model import AccuracyModel, Evidence
from blockstore.blobs import digest_of
from blockstore.block import MAX_OUTPUTS, Model, TensorSpec
from blockstore.errors import BadManifest
from schedulerd.wire.messages import MAX_REPLY_TENSORS
from tests.blockstore.samples import sample

MODEL = sample(digest_of)
BOXES, SCORES = TensorSpec("float32", (2, 4)), TensorSpec("float32", (2,))


def test_several_outputs_survive_the_manifest() -> None:
    model = replace(MODEL, outputs=(BOXES, SCORES))
    assert Model.from_json(model.to_json()) == model


KNOWN = AccuracyModel("weibull", 0.9, 0.1, 1.5, ((0.0, 0.2), (0.0, 0.3)), (), 0.01, (Evidence((1, 0), 0.8, False),))


def test_a_manifest_without_the_newer_parts_has_the_bytes_that_it_always_had() -> None:
    document = json.loads(MODEL.to_json())
    assert not {"outputs", "accuracy_model"} & document.keys()
    assert Model.from_json(MODEL.to_json()) == MODEL


def test_what_is_known_of_its_accuracy_survives_the_manifest() -> None:
    model = replace(
        MODEL,
        accuracy_model=replace(
            KNOWN, damages=tuple((0.0, *(0.1,) * (len(b.variants) - 1)) for b in MODEL.blocks), evidence=()
        ),
    )
    assert Model.from_json(model.to_json()) == model


def test_an_accuracy_model_of_other_blocks_is_refused() -> None:
    with pytest.raises(BadManifest, match="of other blocks or variants"):
        Model.from_json(replace(MODEL, accuracy_model=replace(KNOWN, damages=((0.0,),), evidence=())).to_json())


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((BOXES,), r"outputs float32\[2x4\], its last block gives float32\[10\]"),
        ((TensorSpec("float16", (2, 4)), SCORES), "float16"),
        ((TensorSpec("float32", (0,)),) * (MAX_OUTPUTS + 1), f"33 outputs; the limit is {MAX_OUTPUTS}"),
    ],
)
def test_outputs_that_do_not_fill_the_last_tensor_are_refused(outputs: tuple[TensorSpec, ...], message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        Model.from_json(replace(MODEL, outputs=outputs).to_json())


def test_a_reply_carries_as_many_tensors_as_a_network_may_have_outputs() -> None:
    assert MAX_OUTPUTS <= MAX_REPLY_TENSORS
