"""The torch engine, and its agreement with onnxruntime."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from schedulerd.errors import EngineError
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job
from tests.fakes import FakeClock
from tests.profiles import tiny
from tests.serving.parts import exit_of, live_app, route_with

pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")

import torch

from blockstore import torchform
from schedulerd.serving.engines.torch import TorchEngine, TorchHead


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


class Head(torch.nn.Module):
    """The head that `tiny.exit_head` makes for onnxruntime, with the same weights."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4, bias=False)
        weights = np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32) * np.float32(1e-3)
        self.linear.weight.data = torch.from_numpy(weights.T.copy())

    def answer(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and their largest probability."""
        logits = self.linear(features.mean((2, 3)))
        return logits, torch.softmax(logits, 1).amax(1)


class HeadOfOne(Head):
    """Of its own features."""

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`[batch, 4, 8, 8]` to `[batch, 4]` and `[batch]`."""
        return self.answer(features)


class HeadOfTwo(Head):
    """Of those of the exit before it, too."""

    def forward(self, before: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `HeadOfOne`."""
        return self.answer(before + features)


class HeadOfThree(Head):
    """More than there may be."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `HeadOfOne`."""
        return self.answer(a + b + c)


def load_head(engine: TorchEngine, folder: Path, module: torch.nn.Module) -> TorchHead:
    """The head in a file of this module's torch form."""
    (folder / "head").write_bytes(torchform.save(torch.fx.symbolic_trace(module.eval())))
    return engine.load_head(folder / "head")


@pytest.mark.parametrize(("module", "takes"), [(HeadOfOne(), 1), (HeadOfTwo(), 2)], ids=["one", "two"])
def test_a_head_agrees_with_onnxruntime(
    engine: TorchEngine, tmp_path: Path, module: torch.nn.Module, takes: int
) -> None:
    """On what it gives, and on how sure it is."""
    generator = np.random.default_rng(1)
    arrays = [generator.standard_normal((1, 4, 8, 8)).astype(np.float32) for _ in range(takes)]
    output, confidence = load_head(engine, tmp_path, module).run([engine.feed(array) for array in arrays])
    (tmp_path / "onnx").write_bytes(tiny.exit_head(takes))
    expected, expected_confidence = OnnxEngine().load_head(tmp_path / "onnx").run(arrays)
    assert np.allclose(engine.fetch(output), expected, rtol=1e-4, atol=1e-8)
    assert confidence == pytest.approx(expected_confidence, rel=1e-4)


def test_logits_that_are_no_numbers_are_never_confident(engine: TorchEngine, tmp_path: Path) -> None:
    """Here because the features are none."""
    _, confidence = load_head(engine, tmp_path, HeadOfOne()).run([torch.full((1, 4, 8, 8), np.nan)])
    assert math.isnan(confidence)


def test_a_head_of_three_inputs_is_refused_with_the_limit(engine: TorchEngine, tmp_path: Path) -> None:
    """As by onnxruntime."""
    with pytest.raises(EngineError, match="has 3 inputs; a head has 1 or 2: export it again"):
        load_head(engine, tmp_path, HeadOfThree())


def test_a_block_is_no_head(engine: TorchEngine, tmp_path: Path) -> None:
    """It gives one tensor."""
    with pytest.raises(EngineError, match="gives 1 tensors; a head gives 2, output and confidence: export it again"):
        load_head(engine, tmp_path, Flatten())


@pytest.mark.parametrize("shapes", [[(1, 4, 8, 8)], [(1, 4, 8, 8), (1, 3, 8, 8)]], ids=["too few", "other shape"])
def test_a_head_that_does_not_fit_what_the_blocks_give_is_refused_with_both(
    engine: TorchEngine, tmp_path: Path, shapes: list[tuple[int, ...]]
) -> None:
    """What it takes, and what it was given."""
    head = load_head(engine, tmp_path, HeadOfTwo())
    with pytest.raises(EngineError, match=r"takes 2 tensors and cannot run torch.float32\(1, 4, 8, 8\)"):
        head.run([torch.zeros(shape) for shape in shapes])


def test_an_exit_that_is_taken_gives_what_its_head_makes_of_the_same_features(
    engine: TorchEngine, tmp_path: Path
) -> None:
    """Of both blocks before it, whose features are handed on in the engine's own order."""
    generator = np.random.default_rng(2)
    frame = generator.standard_normal((1, 3, 8, 8)).astype(np.float32)
    (tmp_path / "first").write_bytes(convolution(generator.standard_normal((4, 3, 3, 3)).astype(np.float32)))
    (tmp_path / "second").write_bytes(convolution(generator.standard_normal((4, 4, 3, 3)).astype(np.float32)))
    first, second = (engine.load(tmp_path / name) for name in ("first", "second"))
    head = load_head(engine, tmp_path, HeadOfTwo())
    app = live_app(route=route_with(exit_of(1, head, 0.1, inputs=(0, 1)), blocks=[first, second, second]))
    job = Job(app, 1, frame, 0.0)
    executor = Executor(engine, FakeClock())
    executor.start(job)
    assert [executor.step(job), executor.step(job)] == [False, True]
    reply, (output,) = executor.finish(job)
    features = first.run(engine.feed(frame))
    expected, confidence = HeadOfTwo().eval()(features, second.run(features))
    np.testing.assert_allclose(output, expected.detach().numpy(), rtol=1e-5)
    assert (reply.exit, reply.left, reply.confidence) == ("exit2", "confident", pytest.approx(confidence.item()))


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """With the remedy."""
    with pytest.raises(EngineError, match=f"no device '{device}'"):
        TorchEngine(device=device)
