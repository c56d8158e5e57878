"""Export: both forms of a block compute what the block computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock, cut
from blockstore.build.export import export, run, session
from blockstore.build.latency import median_ms
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks


def whole(make: Callable[[], nn.Module]) -> CutBlock:
    return cut(networks.traced(make()), 1, lambda *_: 1.0, lambda *_: True).blocks[0]


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_both_forms_take_batches_of_frames_and_agree(make: Callable[[], nn.Module]) -> None:
    block = whole(make)
    forms = export(block.module, block.input, networks.frames(2))
    loaded = session(forms.onnx, threads=1)
    assert [t.name for t in loaded.get_inputs()] == ["input"]
    assert [t.name for t in loaded.get_outputs()] == ["output"]
    for batch in (1, 5):
        frames = networks.frames(batch, seed=batch)
        expected = block.module(frames).numpy()
        assert np.allclose(run(loaded, frames.numpy()), expected, atol=1e-4)
        assert forms.torch is not None
        assert np.allclose(torchform.load(forms.torch)(frames).numpy(), expected, atol=1e-5)


def test_parameters_and_multiply_adds_are_those_of_one_frame() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    block = cut(networks.traced(network), 1, lambda *_: 1.0, lambda *_: True).blocks[0]
    forms = export(block.module, block.input, networks.frames(1))
    assert forms.parameters == 4 * 3 * 9
    assert forms.multiply_adds == pytest.approx(144 * 4 * 3 * 9, rel=0.05)


def test_files_hold_little_but_weights() -> None:
    block = whole(networks.residual)
    forms = export(block.module, block.input, networks.frames(1))
    weights = sum(p.numel() * 4 for p in block.module.parameters())
    assert forms.torch is not None
    assert len(forms.onnx) < weights + 8000
    assert len(forms.torch) < weights + 8000


def test_equal_blocks_are_equal_files() -> None:
    one, other = (export(whole(networks.plain).module, networks.FRAMES, networks.frames(1)) for _ in range(2))
    assert (one.onnx, one.torch) == (other.onnx, other.torch)


def test_forms_that_differ_are_refused() -> None:
    block = whole(networks.plain).module
    with torch.no_grad():
        next(block.parameters())[0] = float("nan")
    with pytest.raises(CannotBuild, match="differs from torch"):
        export(block, networks.FRAMES, networks.frames(1))


def test_an_operator_that_onnx_lacks_is_named() -> None:
    """12 pixels do not divide into 5 areas of one size."""
    block = whole(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(5), nn.Flatten()))
    with pytest.raises(CannotBuild, match=r"uint8\[12x12x3\] has no ONNX form: .*adaptive_avg_pool2d"):
        export(block.module, block.input, networks.frames(1))


def test_latency_is_measured_in_milliseconds() -> None:
    block = whole(networks.plain)
    assert 0 < median_ms(block.module, TensorSpec("uint8", (12, 12, 3))) < 1000
