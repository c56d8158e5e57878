"""Tiny real ONNX blocks and the model they make: uint8 frame -> features -> logits, two variants a block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blockstore.block import ORIGINAL, Artifact, Block, Model, TensorSpec, Variant

onnx = pytest.importorskip("onnx", reason="makes ONNX files: pip install 'schedulerd[build]'")

Weights = npt.NDArray[np.float32]
FRAME = TensorSpec("uint8", (8, 8, 1))
FEATURES = TensorSpec("float32", (4, 8, 8))
LOGITS = TensorSpec("float32", (4,))


def stem(width: int, seed: int = 0) -> bytes:
    """Block 0: frame `[batch, 8, 8, 1]` to features `[batch, 4, 8, 8]` through `width` channels."""
    widen, narrow = _weights((width, 1, 3, 3), seed), _weights((4, width, 1, 1), seed + 1)
    nodes = [
        _node("Cast", ["input"], "float", to=onnx.TensorProto.FLOAT),
        _node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2]),
        _node("Conv", ["planes", "widen"], "wide", pads=[1, 1, 1, 1]),
        _node("Relu", ["wide"], "positive"),
        _node("Conv", ["positive", "narrow"], "output"),
    ]
    return _graph(nodes, FRAME, FEATURES, {"widen": widen, "narrow": narrow})


def head(width: int, seed: int = 0) -> bytes:
    """Block 1: features to logits `[batch, 4]` through `width` channels."""
    widen, narrow = _weights((width, 4, 1, 1), seed), _weights((4, width, 1, 1), seed + 1)
    nodes = [
        _node("Conv", ["input", "widen"], "wide"),
        _node("Relu", ["wide"], "positive"),
        _node("Conv", ["positive", "narrow"], "maps"),
        _node("GlobalAveragePool", ["maps"], "means"),
        _node("Flatten", ["means"], "output"),
    ]
    return _graph(nodes, FEATURES, LOGITS, {"widen": widen, "narrow": narrow})


def convolution(weights: Weights, side: int = 8) -> bytes:
    """One 3x3 convolution, `weights` `[outputs, inputs, 3, 3]`, on frames of `side` x `side`."""
    outputs, inputs = weights.shape[:2]
    nodes = [_node("Conv", ["input", "weights"], "output", pads=[1, 1, 1, 1])]
    given, result = TensorSpec("float32", (inputs, side, side)), TensorSpec("float32", (outputs, side, side))
    return _graph(nodes, given, result, {"weights": weights})


def identity(shape: tuple[int, ...]) -> bytes:
    """A block that gives back the positive part of its input."""
    spec = TensorSpec("float32", shape)
    return _graph([_node("Relu", ["input"], "output")], spec, spec, {})


def two_outputs() -> bytes:
    """A graph that is no block: it has two outputs."""
    nodes = [_node("Relu", ["input"], "output"), _node("Neg", ["input"], "second")]
    spec = TensorSpec("float32", (4,))
    graph = onnx.helper.make_graph(
        nodes, "two", [_value("input", spec)], [_value("output", spec), _value("second", spec)]
    )
    return _serialised(graph)


class Files:
    """Blobs as files named by their digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> Artifact:
        """Write a blob and describe it."""
        digest = hashlib.sha256(data).hexdigest()
        self.path(digest).write_bytes(data)
        return Artifact("onnxruntime", digest, len(data))

    def path(self, digest: str) -> Path:
        """The file of a blob."""
        return self._folder / digest


def tiny_model(files: Files, name: str = "tiny", seed: int = 0) -> Model:
    """A model of two blocks with two variants each, its blobs in `files`."""
    return model_of(
        name,
        {
            "stem": (FRAME, FEATURES, [files.put(stem(16, seed)), files.put(stem(4, seed))]),
            "head": (FEATURES, LOGITS, [files.put(head(16, seed)), files.put(head(4, seed))]),
        },
    )


def model_of(name: str, blocks: Mapping[str, tuple[TensorSpec, TensorSpec, list[Artifact]]]) -> Model:
    """A model from its blocks' input, output and artifacts, one variant for each artifact."""
    made = tuple(
        Block(number, block, given, result, tuple(_variant(i, a) for i, a in enumerate(artifacts)))
        for number, (block, (given, result, artifacts)) in enumerate(blocks.items())
    )
    return Model(name, made[0].input, made[-1].output, accuracy=0.9, evaluated_images=100, blocks=made)


def _variant(number: int, artifact: Artifact) -> Variant:
    name, kind = (ORIGINAL, ORIGINAL) if number == 0 else (f"pruned-{number}", "pruned")
    return Variant(name, kind, (artifact,), accuracy_drop=0.01 * number, parameters=1, multiply_adds=1)


def _weights(shape: tuple[int, ...], seed: int) -> Weights:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _node(operator: str, inputs: list[str], output: str, **attributes: object) -> Any:
    return onnx.helper.make_node(operator, inputs, [output], **attributes)


def _value(name: str, spec: TensorSpec) -> Any:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(name, element, ["batch", *spec.shape])


def _graph(nodes: list[Any], given: TensorSpec, result: TensorSpec, weights: Mapping[str, Weights]) -> bytes:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "block", [_value("input", given)], [_value("output", result)], tensors)
    return _serialised(graph)


def _serialised(graph: Any) -> bytes:
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
