"""The manifest: what a model with several outputs says of them, what is known of its accuracy, and its exits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from blockstore.accuracy_model import AccuracyModel, Evidence
from blockstore.blobs import digest_of
from blockstore.block import MAX_OUTPUTS, Artifact, Exit, Model, TensorSpec
from blockstore.errors import BadManifest
from blockstore.exits import (
    ANY_UPSTREAM,
    FINAL,
    MAX_EXITS,
    Curve,
    CurvePoint,
    CurveSet,
    ExitPolicy,
    Forecast,
    OfferedPolicy,
)
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
    assert not {"outputs", "accuracy_model", "exits", "policies"} & document.keys()
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


CURVES = CurveSet((Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.8, 1.0), CurvePoint(0.9, 0.4, 0.99, 0.85))),))
EXIT = Exit(
    name="exit1",
    block=0,
    inputs=(0,),
    method="flexdnn",
    measure="max_probability",
    temperature=1.5,
    artifacts=(Artifact("onnxruntime", digest_of(b"head"), 4),),
    parameters=50,
    multiply_adds=500,
    curves=CURVES,
    settings={"filters": "16-8", "accuracy": 0.8},
)
POLICY = OfferedPolicy(ExitPolicy("drop-1", (("exit1", 0.9), (FINAL, 0.0))), Forecast((0.4, 0.6), 0.01))
EXITING = replace(MODEL, exits=(EXIT,), policies=(POLICY,))


def test_exits_and_policies_survive_the_manifest() -> None:
    assert Model.from_json(EXITING.to_json()) == EXITING
    assert EXITING.depths() == {"exit1": 0}
    assert EXITING.artifacts()[-1] is EXIT.artifacts[0]
    assert digest_of(b"head") in EXITING.digests()
    assert EXIT.artifact("torch") is None


LONG = replace(
    EXITING,
    blocks=tuple(
        replace(MODEL.blocks[0], index=i, input=MODEL.blocks[0].output if i else MODEL.input) for i in range(20)
    ),
    output=MODEL.blocks[0].output,
    policies=(),
)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(EXITING, exits=(replace(EXIT, block=1, inputs=(1,)),)), r"after blocks \[1\]: .* none after the last"),
        (replace(EXITING, exits=(replace(EXIT, block=-1, inputs=(-1,)),)), r"exits after blocks \[-1\]"),
        (replace(EXITING, exits=(replace(EXIT, inputs=()),)), r"takes the outputs of blocks \(\): rising, its own 0"),
        (replace(EXITING, exits=(replace(EXIT, inputs=(1,)),)), r"takes the outputs of blocks \(1,\)"),
        (replace(EXITING, exits=(replace(EXIT, inputs=(-1, 0)),)), r"takes the outputs of blocks \(-1, 0\)"),
        (replace(EXITING, exits=(replace(EXIT, inputs=(0, 0)),)), r"takes the outputs of blocks \(0, 0\)"),
        (replace(EXITING, exits=(replace(EXIT, name=FINAL),), policies=()), "one called 'final'"),
        (replace(EXITING, exits=(replace(EXIT, measure="mood"),)), "measures 'mood', this version knows"),
        (replace(EXITING, exits=(replace(EXIT, temperature=0.0),)), "temperature 0.0: a number above 0"),
        (replace(EXITING, exits=(replace(EXIT, curves=CurveSet()),)), "just one curve for any upstream"),
        (replace(EXITING, exits=()), "names exit 'exit1'; there are final"),
        (replace(LONG, exits=(EXIT, replace(EXIT, block=3, inputs=(3,)))), "two exits of one name"),
        (
            replace(LONG, exits=(replace(EXIT, name="b", block=2, inputs=(2,)), EXIT)),
            r"exits after blocks \[2, 0\]: rising",
        ),
        (
            replace(LONG, exits=tuple(replace(EXIT, name=f"e{i}", block=i, inputs=(i,)) for i in range(MAX_EXITS + 1))),
            f"{MAX_EXITS + 1} exits; the limit is {MAX_EXITS}",
        ),
    ],
)
def test_exits_that_no_route_could_run_are_refused(model: Model, message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        Model.from_json(model.to_json())


def test_a_manifest_without_a_key_of_an_exit_is_refused_by_its_name() -> None:
    document = json.loads(EXITING.to_json())
    del document["exits"][0]["temperature"]
    with pytest.raises(BadManifest, match="not a model manifest: KeyError: 'temperature'"):
        Model.from_json(json.dumps(document).encode())
