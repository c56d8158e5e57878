"""The torch engine, and its agreement with onnxruntime."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from schedulerd.errors import EngineError
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.profiles import tiny

pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")

import torch

from blockstore import torchform
from schedulerd.serving.engines.torch import TorchEngine


@pytest.fixture
def engine() -> TorchEngine:
    """On the CPU, one thread."""
    return TorchEngine(threads=1)


def convolution(weights: tiny.Weights) -> bytes:
    """The torch form of a 3x3 convolution without bias."""
    outputs, inputs = weights.shape[:2]
    module = torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
    module[0].weight.data = torch.from_numpy(weights)
    return torchform.save(torch.fx.symbolic_trace(module.eval()))


def result(engine: Engine, path: Path, array: Array) -> Array:
    """What the block in a file makes of an array."""
    return engine.fetch(engine.load(path).run(engine.feed(array)))


def test_agrees_with_onnxruntime(engine: TorchEngine, tmp_path: Path) -> None:
    """Both engines compute the same convolution within the error of float32."""
    weights = np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32)
    array = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    (tmp_path / "torch").write_bytes(convolution(weights))
    (tmp_path / "onnx").write_bytes(tiny.convolution(weights))
    by_torch = result(engine, tmp_path / "torch", array)
    assert by_torch.shape == (2, 6, 8, 8)
    assert np.allclose(by_torch, result(OnnxEngine(), tmp_path / "onnx", array), rtol=1e-4, atol=1e-5)


class Flatten(torch.nn.Module):
    """Takes features apart with `view`, as many networks do before their last layer."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[batch, 4, 8, 8]` to `[batch, 256]`."""
        return features.view(-1, 256)


def test_hands_features_to_a_block_that_takes_them_apart(engine: TorchEngine, tmp_path: Path) -> None:
    """`view` refuses the channels-last order in which convolutions hand features on."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "first").write_bytes(convolution(weights))
    (tmp_path / "second").write_bytes(torchform.save(torch.fx.symbolic_trace(Flatten())))
    array = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    features = engine.load(tmp_path / "first").run(engine.feed(array).contiguous(memory_format=torch.channels_last))
    flat = engine.fetch(engine.load(tmp_path / "second").run(features))
    assert np.array_equal(flat, engine.fetch(features).reshape(2, 256))


def test_takes_read_only_frames_without_a_warning(engine: TorchEngine, tmp_path: Path) -> None:
    """A frame is a read-only view of the message it came in."""
    (tmp_path / "blob").write_bytes(convolution(np.ones((1, 1, 3, 3), np.float32)))
    block = engine.load(tmp_path / "blob")
    frame = np.frombuffer(bytes(4 * 64), np.float32).reshape(1, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = engine.fetch(block.run(engine.feed(frame)))
    assert not output.any()


def test_leaves_its_input_and_keeps_no_gradients(engine: TorchEngine, tmp_path: Path) -> None:
    """Gradients would keep every activation alive."""
    (tmp_path / "blob").write_bytes(convolution(np.ones((1, 1, 3, 3), np.float32)))
    tensor = engine.feed(np.ones((1, 1, 8, 8), np.float32))
    output = engine.load(tmp_path / "blob").run(tensor)
    assert not output.requires_grad
    assert (tensor == 1).all()


@pytest.mark.parametrize("cut", [0, 20, 200], ids=["empty", "header", "weights"])
def test_a_damaged_file_is_refused_by_name(engine: TorchEngine, tmp_path: Path, cut: int) -> None:
    """The error says which file."""
    (tmp_path / "blob").write_bytes(convolution(np.ones((8, 8, 3, 3), np.float32))[:cut])
    with pytest.raises(EngineError, match=f"cannot load {tmp_path}/blob: "):
        engine.load(tmp_path / "blob")


def test_a_wrong_tensor_is_refused(engine: TorchEngine, tmp_path: Path) -> None:
    """The error says what was given."""
    (tmp_path / "blob").write_bytes(convolution(np.ones((1, 3, 3, 3), np.float32)))
    block = engine.load(tmp_path / "blob")
    with pytest.raises(EngineError, match=r"cannot run torch.float32\(1, 2, 8, 8\)"):
        block.run(engine.feed(np.zeros((1, 2, 8, 8), np.float32)))


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """With the remedy."""
    with pytest.raises(EngineError, match=f"no device '{device}'"):
        TorchEngine(device=device)
