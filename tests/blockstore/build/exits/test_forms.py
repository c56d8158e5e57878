"""Heads as engines run them: both forms give what the head gives when it is run by hand on the same features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.exits.confidence import Confidence, entropy, max_probability
from blockstore.build.exits.forms import check_confidence, head_forms
from blockstore.build.exits.heads import Design, Head, broad, given
from blockstore.build.export import Forms
from blockstore.errors import CannotBuild
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.engines.torch import TorchEngine

CLASSES = TensorSpec("float32", (5,))
LARGE, SMALL, VECTOR = (TensorSpec("float32", shape) for shape in ((3, 12, 12), (6, 6, 6), (7,)))
CASES: dict[str, tuple[Design, tuple[TensorSpec, ...]]] = {
    "branchynet": (given(LARGE), (LARGE,)),
    "flexdnn": (broad(SMALL, "average"), (SMALL,)),
    "without layers": (Design((), "maximum", strided=True), (SMALL,)),
    "mxn": (broad(SMALL, "average", aggregates=True), (LARGE, SMALL)),
    "vector": (broad(VECTOR, "average"), (VECTOR,)),
}
TEMPERATURE = 1.7


def features(specs: tuple[TensorSpec, ...], batch: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, *spec.shape, generator=generator) for spec in specs]


def made(name: str) -> tuple[Head, tuple[TensorSpec, ...]]:
    design, specs = CASES[name]
    torch.manual_seed(2)
    head = Head(design, specs, CLASSES).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean = 0.1 * torch.randn(module.num_features)
    return head, specs


def both(head: Head, specs: tuple[TensorSpec, ...], measure: Confidence = max_probability) -> Forms:
    return head_forms(head, specs, measure, TEMPERATURE, features(specs))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("measure", [max_probability, entropy])
def test_both_engines_give_what_the_head_gives_by_hand(tmp_path: Path, name: str, measure: Confidence) -> None:
    head, specs = made(name)
    forms = both(head, specs, measure)
    assert forms.torch is not None
    (tmp_path / "onnx").write_bytes(forms.onnx)
    (tmp_path / "torch").write_bytes(forms.torch)
    onnx, torch_engine = OnnxEngine().load_head(tmp_path / "onnx"), TorchEngine()
    graph = torch_engine.load_head(tmp_path / "torch")
    frames = features(specs, batch=1)
    with torch.no_grad():
        output = head(*frames)
        confidence = float(measure(output / TEMPERATURE))
    found, sure = onnx.run([frame.numpy() for frame in frames])
    assert np.allclose(found, output.numpy(), atol=1e-5)
    assert sure == pytest.approx(confidence, abs=1e-5)
    tensor, sure = graph.run(frames)
    assert np.allclose(torch_engine.fetch(tensor), output.numpy(), atol=1e-5)
    assert sure == pytest.approx(confidence, abs=1e-5)


@pytest.mark.parametrize("measure", [max_probability, entropy])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_never_confident(tmp_path: Path, measure: Confidence, wrong: float) -> None:
    head, specs = made("vector")
    forms = both(head, specs, measure)
    assert forms.torch is not None
    (tmp_path / "onnx").write_bytes(forms.onnx)
    (tmp_path / "torch").write_bytes(forms.torch)
    frame = torch.full((1, 7), wrong)
    _, sure = OnnxEngine().load_head(tmp_path / "onnx").run([frame.numpy()])
    assert not sure >= 0
    _, sure = TorchEngine().load_head(tmp_path / "torch").run([frame])
    assert not sure >= 0


def test_the_torch_form_takes_each_input_in_order_and_gives_a_pair() -> None:
    head, specs = made("mxn")
    forms = both(head, specs)
    assert forms.torch is not None
    loaded = torchform.load(forms.torch)
    output, sure = loaded(*features(specs))
    assert (output.shape, sure.shape) == ((4, 5), (4,))
    # Normalisation is folded into the convolutions.
    assert not [m for m in loaded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert forms.parameters == sum(p.numel() for p in loaded.parameters())
    assert forms.multiply_adds > 0


def ok(outputs: Tensor) -> Tensor:
    return torch.sigmoid(outputs.mean(1))


def one_for_all(outputs: Tensor) -> Tensor:
    return torch.softmax(outputs, 1).mean()


def each_class(outputs: Tensor) -> Tensor:
    return torch.softmax(outputs, 1)


def percent(outputs: Tensor) -> Tensor:
    return 100.0 * torch.softmax(outputs, 1).amax(1)


def branches(outputs: Tensor) -> Tensor:
    return outputs.amax(1) if outputs.sum() > 0 else outputs.amin(1)


def raises(outputs: Tensor) -> Tensor:
    raise ValueError("no idea")


def sorts(outputs: Tensor) -> Tensor:
    return torch.sort(torch.softmax(outputs, 1), 1)[0].amax(1)


def nothing(outputs: Tensor) -> Tensor:
    return torch.log(-torch.softmax(outputs, 1).amax(1))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (one_for_all, r"the confidence of 8 frames is \[\]: give one number a frame, \[batch\]"),
        (each_class, r"the confidence of 8 frames is \[8, 5\]"),
        (percent, "the confidence of a frame is .*: it must be 0 to 1"),
        (branches, "cannot trace"),
        (raises, "cannot trace an exit: ValueError: no idea"),
        (sorts, "made of operators that a torch form does not know: function .*sort"),
        (nothing, "differs by nan in confidence"),
    ],
)
def test_a_confidence_that_no_head_can_have_is_refused_before_any_has_learnt(
    function: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(CannotBuild, match=message):
        check_confidence(function, CLASSES)


@pytest.mark.parametrize("function", [ok, max_probability, entropy])
def test_looking_at_a_confidence_leaves_the_generator_as_it_was(function: Confidence) -> None:
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    check_confidence(function, CLASSES)
    assert torch.equal(torch.rand(1), expected)
