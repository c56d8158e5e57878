"""FP16: half the bytes, nearly the same numbers, float32 outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from blockstore import torchform
from blockstore.build.export import run, session
from blockstore.build.kinds import fp16
from blockstore.build.kinds.base import Declined
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.encoded import bench, with_other_frames
from tests.blockstore.build.kinds.reshaping import scaled


def wide() -> nn.Module:
    """Enough weights for them to be most of the file."""
    return nn.Sequential(
        nn.Conv2d(3, 48, 3), nn.ReLU(), nn.Conv2d(48, 96, 3), nn.ReLU6(), nn.Flatten(1), nn.Linear(6144, 4)
    )


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_both_forms_compute_what_the_original_does_within_half_precision(make: Callable[[], nn.Module]) -> None:
    tested = bench(make)
    forms = tested.encode(fp16.parse([])).forms
    frames = networks.frames(4, seed=5)
    expected = tested.block.module(frames)
    assert forms.torch is not None
    in_torch = torchform.load(forms.torch)(frames)
    in_onnx = torch.from_numpy(run(session(forms.onnx, threads=1), frames.numpy()))
    assert in_torch.dtype == in_onnx.dtype == torch.float32
    assert torch.allclose(in_torch, in_onnx, rtol=1e-4, atol=1e-5)
    assert torch.allclose(in_torch, expected, rtol=1e-2, atol=1e-2)
    assert not torch.equal(in_torch, expected)


def test_both_files_are_half_as_large() -> None:
    tested = bench(wide)
    forms = tested.encode(fp16.parse([])).forms
    assert tested.forms.torch is not None
    assert forms.torch is not None
    assert len(forms.onnx) < 0.53 * len(tested.forms.onnx)
    assert len(forms.torch) < 0.53 * len(tested.forms.torch)
    assert forms.parameters == tested.forms.parameters


def test_the_normalisation_of_frames_keeps_its_precision() -> None:
    tested = bench(wide)
    forms = tested.encode(fp16.parse([])).forms
    assert forms.torch is not None
    assert torch.equal(
        torchform.load(forms.torch).get_buffer("m0.gain"),
        tested.block.module.get_buffer("preprocess.gain"),
    )


def test_equal_blocks_are_equal_files_and_the_original_stays() -> None:
    tested = bench(networks.residual)
    before = {name: tensor.clone() for name, tensor in tested.block.module.state_dict().items()}
    one, other = (tested.encode(fp16.parse([])).forms for _ in range(2))
    assert one == other
    assert all(torch.equal(before[name], tensor) for name, tensor in tested.block.module.state_dict().items())


def test_facts_tell_the_layers_and_the_error() -> None:
    facts = bench(networks.residual, index=1, blocks=2).encode(fp16.parse([])).facts
    assert facts["layers"] == facts["layers_converted"]
    assert 0 < float(facts["encoding_error"]) < 1e-5


def test_the_onnx_file_is_valid_and_stores_its_large_weights_in_half() -> None:
    model = onnx.load_from_string(bench(wide).encode(fp16.parse([])).forms.onnx)
    onnx.checker.check_model(model, full_check=True)
    kinds = {t.data_type for t in model.graph.initializer if np.prod(t.dims) > 1000}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_a_weight_beyond_the_range_is_declined_with_its_layer() -> None:
    def network() -> nn.Module:
        outlier = networks.plain()
        with torch.no_grad():
            outlier.get_parameter("2.weight")[0, 0, 0, 0] = 70000.0
        return outlier

    with pytest.raises(Declined, match=r"weight of .*2 reaches 7e\+04, FP16 ends at 65504"):
        bench(network).encode(fp16.parse([]))


def test_a_block_without_layers_is_declined() -> None:
    with pytest.raises(Declined, match="no convolution or linear layer"):
        bench(lambda: nn.Sequential(nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())).encode(fp16.parse([]))


def test_a_block_that_would_not_shrink_is_declined() -> None:
    with pytest.raises(Declined, match="would have"):
        bench(lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())).encode(fp16.parse([]))


def test_training_images_of_another_size_than_the_one_that_is_served_only_cost_the_error() -> None:
    tested = bench(networks.residual)
    made, usual = with_other_frames(tested).encode(fp16.parse([])), tested.encode(fp16.parse([]))
    assert made.forms == usual.forms
    assert usual.facts.keys() - made.facts.keys() == {"encoding_error"}


def test_constants_of_the_network_are_no_hindrance() -> None:
    assert float(bench(scaled).encode(fp16.parse([])).facts["encoding_error"]) < 1e-5


def test_arguments_are_refused() -> None:
    with pytest.raises(CannotBuild, match="1 arguments are given, it is written fp16"):
        fp16.parse(["0.5"])
