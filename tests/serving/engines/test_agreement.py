"""Onnxruntime and torch compute the same: for every kind of variant, made as the builder makes it, and for exits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")

import torch

from blockstore.assembly import Chain
from blockstore.block import ORIGINAL, Model, TensorSpec, Variant
from blockstore.build.exits.confidence import max_probability
from blockstore.build.exits.forms import head_forms
from blockstore.build.exits.heads import Head, broad
from blockstore.build.export import Forms, export
from blockstore.build.kinds.registry import KINDS, parse
from blockstore.store import Store
from schedulerd.serving.engines.base import Array
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.engines.torch import TorchEngine
from tests.blockstore.build import networks
from tests.blockstore.build.kinds import encoded, reshaping

HEAD: Final = "head"
TOLERANCE: Final[dict[str, float | None]] = {
    ORIGINAL: 1e-5,
    "prune": 1e-5,
    "skip": 1e-5,
    "dpruner": 1e-5,
    "tucker2": 1e-5,
    # Weights are widened to float32 when they are loaded: both engines have the same numbers.
    "fp16": 1e-5,
    "fp16-greedy": 1e-5,
    # There is no torch form: nothing computes it but onnxruntime.
    "int8": None,
    # Logits, and the confidence, whose range is 1.
    HEAD: 1e-5,
}
"""Largest difference between the engines as a share of the range of the output; None where there is one form only."""
RECIPES: Final = (
    *("prune:0.5", "skip:1", "dpruner:0.5,0.8", "tucker2:0.6", "fp16", "fp16-greedy:0.05", "int8"),
    *("prune:0.5+fp16", "tucker2:0.6+int8"),
)
NETWORKS: Final = {"residual": networks.residual, "depthwise": networks.depthwise}
CASES: Final = (
    *(("residual", recipe) for recipe in (ORIGINAL, *RECIPES)),
    *(("depthwise", recipe) for recipe in (ORIGINAL, "prune:0.5", "tucker2:0.6", "fp16")),
)


def test_every_kind_has_a_tolerance_and_a_recipe_here() -> None:
    """One that is added to the builder is to be added here."""
    assert set(TOLERANCE) == {ORIGINAL, HEAD, *KINDS}
    assert {parse(text).kind for text in RECIPES} >= set(KINDS)


@pytest.mark.parametrize(("network", "recipe"), CASES)
def test_both_engines_agree_on_a_variant(tmp_path: Path, network: str, recipe: str) -> None:
    """Of the whole of a small network, for one frame and for a batch."""
    forms = made(network, recipe)
    tolerances = [TOLERANCE[kind] for kind in ([recipe] if recipe == ORIGINAL else parse(recipe).kind.split("+"))]
    if None in tolerances:
        assert forms.torch is None, "an engine more runs this kind: give it a tolerance"
        return
    for frames in (networks.frames(1), networks.frames(5)):
        assert difference(tmp_path, forms, frames.numpy()) <= max(t for t in tolerances if t is not None)


def made(network: str, recipe: str) -> Forms:
    """The forms of a variant, untrained: its numbers do not matter, its operators do."""
    make = NETWORKS[network]
    bench = reshaping.whole(make)
    if recipe == ORIGINAL:
        return export(bench.block.module, bench.block.input, networks.frames(4))
    parsed, module = parse(recipe), bench.block.module
    for kind in parsed.reshapings:
        module = bench.reshape(kind, module).module
    forms = export(module, bench.block.input, networks.frames(4))
    if parsed.encoding is None:
        return forms
    return parsed.encoding.encode(bench.block, module, forms, encoded.bench(make).material).forms


def difference(folder: Path, forms: Forms, frames: Array) -> float:
    """What `TOLERANCE` limits."""
    assert forms.torch is not None
    (folder / "onnx").write_bytes(forms.onnx)
    (folder / "torch").write_bytes(forms.torch)
    onnx, by_torch = OnnxEngine(), TorchEngine()
    expected = onnx.fetch(onnx.load(folder / "onnx").run(onnx.feed(frames)))
    return apart(by_torch.fetch(by_torch.load(folder / "torch").run(by_torch.feed(frames))), expected)


def apart(found: Array, expected: Array) -> float:
    """Largest difference as a share of the range of `expected`."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return float(np.abs(found - expected).max() / np.ptp(expected))


def test_both_engines_agree_on_the_head_of_an_exit(tmp_path: Path) -> None:
    """Of two tensors, with its confidence."""
    specs = (TensorSpec("float32", (3, 12, 12)), TensorSpec("float32", (6, 6, 6)))
    torch.manual_seed(2)
    head = Head(broad(specs[1], "average", aggregates=True), specs, TensorSpec("float32", (5,))).eval()
    forms = head_forms(head, specs, max_probability, 1.3, [torch.randn(4, *spec.shape) for spec in specs])
    assert forms.torch is not None
    (tmp_path / "onnx").write_bytes(forms.onnx)
    (tmp_path / "torch").write_bytes(forms.torch)
    features = [torch.randn(1, *spec.shape) for spec in specs]
    expected, sure = OnnxEngine().load_head(tmp_path / "onnx").run([tensor.numpy() for tensor in features])
    found, sure_by_torch = TorchEngine().load_head(tmp_path / "torch").run(features)
    tolerance = TOLERANCE[HEAD]
    assert tolerance is not None
    assert apart(found.numpy(), expected) <= tolerance
    assert abs(sure_by_torch - sure) <= tolerance


@pytest.fixture(scope="module")
def shipped(store: Path) -> Iterator[Store]:
    """The demo's store, whose variants were trained."""
    with Store.open(store) as opened:
        yield opened


@pytest.mark.parametrize("name", ["digits-depthwise", "digits-plain", "digits-residual"])
def test_both_engines_agree_on_every_variant_of_a_trained_model(shipped: Store, name: str) -> None:
    """Each on what the original blocks before it give."""
    model, onnx, by_torch = shipped.model(name), OnnxEngine(), TorchEngine()
    tensor = onnx.feed(frame_of(model))
    for block in model.blocks:
        found = {v.name: onnx.load(path(shipped, v, "onnxruntime")).run(tensor) for v in block.variants}
        for variant in block.variants:
            tolerance = TOLERANCE[ORIGINAL if variant.name == ORIGINAL else "prune"]
            assert tolerance is not None
            output = by_torch.load(path(shipped, variant, "torch")).run(by_torch.feed(tensor))
            assert apart(by_torch.fetch(output), found[variant.name]) <= tolerance, (block.name, variant.name)
        tensor = found[ORIGINAL]


@pytest.mark.parametrize("name", ["digits-depthwise", "digits-plain", "digits-residual"])
def test_both_engines_agree_on_a_whole_route(shipped: Store, name: str) -> None:
    """Their differences do not grow from block to block."""
    model, onnx, by_torch = shipped.model(name), OnnxEngine(), TorchEngine()
    for chosen in (0, -1):
        variants = [block.variants[chosen] for block in model.blocks]
        outputs = [
            engine.fetch(
                Chain(tuple(engine.load(path(shipped, v, engine.name)) for v in variants)).run(
                    engine.feed(frame_of(model))
                )
            )
            for engine in (onnx, by_torch)
        ]
        assert apart(outputs[1], outputs[0]) <= 1e-5


def frame_of(model: Model) -> Array:
    """One frame of noise."""
    return np.random.default_rng(3).integers(0, 256, (1, *model.input.shape), np.uint8)


def path(store: Store, variant: Variant, engine: str) -> Path:
    """The file of a variant for an engine."""
    artifact = variant.artifact(engine)
    assert artifact is not None
    return store.path(artifact.digest)
