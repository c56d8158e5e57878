"""Tiny real ONNX blocks and the model they make: uint8 frame -> features -> logits, two variants a block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, TensorSpec, Variant
from blockstore.exits import ANY_UPSTREAM, FINAL, Curve, CurvePoint, CurveSet, ExitPolicy, Forecast, OfferedPolicy
from blockstore.store import Store

onnx = pytest.importorskip("onnx", reason="makes ONNX files: pip install 'schedulerd[build]'")

Weights = npt.NDArray[np.float32]
FRAME = TensorSpec("uint8", (8, 8, 1))
FEATURES = TensorSpec("float32", (4, 8, 8))
LOGITS = TensorSpec("float32", (4,))


def stem(width: int, seed: int = 0) -> bytes:
    """Block 0: frame `[batch, 8, 8, 1]` to features `[batch, 4, 8, 8]` through `width` channels."""
    widen, narrow = _weights((width, 1, 3, 3), seed), _weights((4, width, 1, 1), seed + 1)
    nodes = [
        node("Cast", ["input"], "float", to=onnx.TensorProto.FLOAT),
        node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "widen"], "wide", pads=[1, 1, 1, 1]),
        node("Relu", ["wide"], "positive"),
        node("Conv", ["positive", "narrow"], "output"),
    ]
    return _graph(nodes, FRAME, FEATURES, {"widen": widen, "narrow": narrow})


def head(width: int, seed: int = 0) -> bytes:
    """Block 1: features to logits `[batch, 4]` through `width` channels."""
    widen, narrow = _weights((width, 4, 1, 1), seed), _weights((4, width, 1, 1), seed + 1)
    nodes = [
        node("Conv", ["input", "widen"], "wide"),
        node("Relu", ["wide"], "positive"),
        node("Conv", ["positive", "narrow"], "maps"),
        node("GlobalAveragePool", ["maps"], "means"),
        node("Flatten", ["means"], "output"),
    ]
    return _graph(nodes, FEATURES, LOGITS, {"widen": widen, "narrow": narrow})


def flawed_head(*, raises: bool, seed: int = 0) -> bytes:
    """Block 1, which works unless all features are 0: then it gives NaN, or the engine raises an error."""
    nodes = [
        node("GlobalAveragePool", ["input"], "maps"),
        node("Flatten", ["maps"], "means"),
        node("MatMul", ["means", "weights"], "logits"),
        node("Abs", ["means"], "sizes"),
        node("ReduceMax", ["sizes", "axis"], "largest", keepdims=1),
    ]
    constants: dict[str, Any] = {"weights": _weights((4, 4), seed), "axis": np.array([1])}
    if raises:
        nodes += [
            node("Equal", ["largest", "nought"], "is_nought"),
            node("Cast", ["is_nought"], "place", to=onnx.TensorProto.INT64),
            # Of one element there is no second.
            node("Gather", ["noughts", "place"], "found"),
            node("Add", ["logits", "found"], "output"),
        ]
        constants |= {"nought": np.float32(0), "noughts": np.zeros(1, np.float32)}
    else:
        nodes += [node("Div", ["logits", "largest"], "output")]
    return _graph(nodes, FEATURES, LOGITS, constants)


def convolution(weights: Weights, side: int = 8) -> bytes:
    """One 3x3 convolution, `weights` `[outputs, inputs, 3, 3]`, on frames of `side` x `side`."""
    outputs, inputs = weights.shape[:2]
    nodes = [node("Conv", ["input", "weights"], "output", pads=[1, 1, 1, 1])]
    given, result = TensorSpec("float32", (inputs, side, side)), TensorSpec("float32", (outputs, side, side))
    return _graph(nodes, given, result, {"weights": weights})


def identity(shape: tuple[int, ...]) -> bytes:
    """A block that gives back the positive part of its input."""
    spec = TensorSpec("float32", shape)
    return _graph([node("Relu", ["input"], "output")], spec, spec, {})


def integer_convolution(channels: int) -> bytes:
    """A block of one 3x3 convolution of bytes, whose weights engines pack for their kernels; frames of 8 x 8."""
    constants = {
        "weights": np.random.default_rng(0).integers(-127, 127, (channels, channels, 3, 3), np.int8),
        "scale": np.float32(0.01),
        "zero": np.uint8(128),
        "even": np.int8(0),
    }
    inputs = ["bytes", "scale", "zero", "weights", "scale", "even", "scale", "zero"]
    nodes = [
        node("QuantizeLinear", ["input", "scale", "zero"], "bytes"),
        node("QLinearConv", inputs, "sums", pads=[1, 1, 1, 1]),
        node("DequantizeLinear", ["sums", "scale", "zero"], "output"),
    ]
    spec = TensorSpec("float32", (channels, 8, 8))
    return _graph(nodes, spec, spec, constants)


def two_outputs() -> bytes:
    """A graph that is no block: it has two outputs."""
    nodes = [node("Relu", ["input"], "output"), node("Neg", ["input"], "second")]
    spec = TensorSpec("float32", (4,))
    graph = onnx.helper.make_graph(
        nodes, "two", [_value("input", spec)], [_value("output", spec), _value("second", spec)]
    )
    return _serialised(graph)


def exit_head(takes: int = 1, seed: int = 0, output: TensorSpec = LOGITS) -> bytes:
    """The head of an exit: logits and their largest probability from the sum of `takes` tensors of features.

    The features of frames of 0 to 255 make logits of about 1.
    """
    weights = _weights((4, *output.shape), seed) * np.float32(1e-3)
    names = [f"features{number}" for number in range(takes)]
    nodes = [
        node("Sum", names, "sum"),
        node("GlobalAveragePool", ["sum"], "means"),
        node("Flatten", ["means"], "flat"),
        node("MatMul", ["flat", "weights"], "output"),
        node("Softmax", ["output"], "probabilities", axis=1),
        node("ReduceMax", ["probabilities", "axis"], "confidence", keepdims=0),
    ]
    return head_graph(nodes, names, {"weights": weights, "axis": np.array([1])}, output)


def steady_head(confidence: float, logits: float = 0.0) -> bytes:
    """A head that has this confidence in any frame, and gives `logits` for every class."""
    nodes = [
        node("GlobalAveragePool", ["features"], "means"),
        node("Flatten", ["means"], "flat"),
        node("Mul", ["flat", "nought"], "noughts"),
        node("Add", ["noughts", "logits"], "output"),
        node("ReduceMax", ["noughts", "axis"], "none", keepdims=0),
        node("Add", ["none", "sure"], "confidence"),
    ]
    constants = {
        "nought": np.float32(0),
        "logits": np.float32(logits),
        "sure": np.float32(confidence),
        "axis": np.array([1]),
    }
    return head_graph(nodes, ["features"], constants)


def head_graph(
    nodes: list[Any],
    inputs: list[str],
    constants: Mapping[str, Any],
    output: TensorSpec = LOGITS,
    outputs: tuple[str, ...] = ("output", "confidence"),
) -> bytes:
    """A graph of several inputs, all of them features, whose outputs have these names."""
    graph = onnx.helper.make_graph(
        nodes,
        "head",
        [_value(name, FEATURES) for name in inputs],
        [_value(outputs[0], output), *(_value(name, TensorSpec("float32", ())) for name in outputs[1:])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
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


def stored(model: Model, files: Files, folder: Path) -> Model:
    """`model`, whose blobs are in `files`, in a new store at `folder`."""
    with Store.open(folder, create=True) as store:
        for digest in model.digests():
            store.put_blob(files.path(digest).read_bytes())
        store.put_model(model)
    return model


def tiny_model(files: Files, name: str = "tiny", seed: int = 0) -> Model:
    """A model of two blocks with two variants each, its blobs in `files`."""
    return model_of(
        name,
        {
            "stem": (FRAME, FEATURES, [files.put(stem(16, seed)), files.put(stem(4, seed))]),
            "head": (FEATURES, LOGITS, [files.put(head(16, seed)), files.put(head(4, seed))]),
        },
    )


CURVE = Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.6, 1.0), CurvePoint(0.5, 0.5, 0.9, 0.8)))
"""Of a frame that is less sure than 0.5 the accuracy is 0.3, of one that is surer 0.9."""


def model_with_exits(files: Files, name: str = "exiting", heads: tuple[bytes, ...] = ()) -> Model:
    """A model of four blocks, of 4 features between them, with exits after the first and the second.

    The first head takes the output of its block, the second one those of both, unless `heads` gives others: these take
    their own block's.
    """
    middle = [files.put(convolution(_weights((4, 4, 3, 3), seed))) for seed in (3, 4)]
    model = model_of(
        name,
        {
            "stem": (FRAME, FEATURES, [files.put(stem(16)), files.put(stem(4))]),
            "body": (FEATURES, FEATURES, [middle[0]]),
            "neck": (FEATURES, FEATURES, [middle[1]]),
            "head": (FEATURES, LOGITS, [files.put(head(16)), files.put(head(4))]),
        },
    )
    given = heads or (exit_head(1), exit_head(2, seed=1))
    exits = tuple(
        exit_of(number, files.put(data), (0, 1) if number == 1 and not heads else (number,))
        for number, data in enumerate(given)
    )
    policy = ExitPolicy("half", (*((e.name, 0.5) for e in exits), (FINAL, 0.0)))
    forecast = Forecast((*(0.25 for _ in exits), 1 - 0.25 * len(exits)), 0.01)
    return replace(model, exits=exits, policies=(OfferedPolicy(policy, forecast),))


def exit_of(block: int, artifact: Artifact, inputs: tuple[int, ...]) -> Exit:
    """Exit `exit1` after block 0, and so on."""
    name = f"exit{block + 1}"
    return Exit(name, block, inputs, "branchynet", "max_probability", 1.0, (artifact,), 16, 20, CurveSet((CURVE,)))


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


def node(operator: str, inputs: list[str], output: str, **attributes: object) -> Any:
    """One ONNX operator."""
    return onnx.helper.make_node(operator, inputs, [output], **attributes)


def _value(name: str, spec: TensorSpec) -> Any:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(name, element, ["batch", *spec.shape])


def _graph(nodes: list[Any], given: TensorSpec, result: TensorSpec, weights: Mapping[str, Any]) -> bytes:
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "block", [_value("input", given)], [_value("output", result)], tensors)
    return _serialised(graph)


def _serialised(graph: Any) -> bytes:
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
