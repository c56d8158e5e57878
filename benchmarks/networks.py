"""Small convolutional networks as ONNX models of a few blocks, for figures in which only their cost matters.

Weights are random (seeded): nothing is learnt, and no accuracy is reported of them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blockstore.block import ORIGINAL, Artifact, Block, Model, TensorSpec, Variant
from blockstore.store import Store

BLOCKS = 4
CHANNELS = 16
CLASSES = 10
OPSET = 17


def add_network(
    store: Store, name: str, height: int, width: int | None = None, *, stride: int = 2, blocks: int = BLOCKS
) -> Model:
    """Put a network for uint8 `[1, height, width, 3]` frames into the store; a few milliseconds on one core.

    `width` None is `height`. The first block's convolution takes steps of `stride` pixels; all but the first and the
    last of `blocks` cost the same.
    """
    rng = np.random.default_rng(height)
    size = (height, width or height)
    specs = [TensorSpec("uint8", (*size, 3))]
    specs += [TensorSpec("float32", (CHANNELS, *((length - 1) // stride + 1 for length in size)))] * (blocks - 1)
    specs += [TensorSpec("float32", (CLASSES,))]
    made = []
    for index in range(blocks):
        data = _graph(index, index == blocks - 1, stride, rng)
        digest = store.put_blob(data)
        variant = Variant(ORIGINAL, ORIGINAL, (Artifact("onnxruntime", digest, len(data)),), 0.0, 0, 0)
        made.append(Block(index, f"block{index}", specs[index], specs[index + 1], (variant,)))
    model = Model(name, specs[0], specs[-1], 1.0, 1, tuple(made), provenance={"weights": "random"})
    store.put_model(model)
    return model


def _graph(index: int, last: bool, stride: int, rng: np.random.Generator) -> bytes:
    """First block: cast, transpose, strided convolution; middle: convolution; last: pool and classify."""
    nodes, weights = [], []
    source = "input"
    channels = CHANNELS
    if index == 0:
        nodes += [
            helper.make_node("Cast", ["input"], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["cast"], ["nchw"], perm=[0, 3, 1, 2]),
        ]
        source, channels = "nchw", 3
    if not last:
        kernel = rng.normal(0, 0.05, (CHANNELS, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, "kernel"))
        strides = [stride, stride] if index == 0 else [1, 1]
        nodes += [
            helper.make_node("Conv", [source, "kernel"], ["conv"], pads=[1, 1, 1, 1], strides=strides),
            helper.make_node("Relu", ["conv"], ["output"]),
        ]
    else:
        matrix = rng.normal(0, 0.1, (CHANNELS, CLASSES)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, "matrix"))
        nodes += [
            helper.make_node("ReduceMean", [source], ["pooled"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["pooled", "matrix"], ["output"]),
        ]
    tensor: list[int | str | None] = ["batch", None, None, None]
    logits: list[int | str | None] = ["batch", CLASSES]
    graph = helper.make_graph(
        nodes,
        f"block{index}",
        [helper.make_tensor_value_info("input", TensorProto.UINT8 if index == 0 else TensorProto.FLOAT, tensor)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, logits if last else tensor)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
