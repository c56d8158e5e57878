"""Small ONNX files, made in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor

Array = npt.NDArray[Any]
SHAPE = (1, 4, 6, 6)


def weights(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def node(operator: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), list(outputs), f"/part/{outputs[0]}/{operator}", **attributes)


def file(
    nodes: Sequence[Any],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    shape: Sequence[int | str] = SHAPE,
    outputs: Sequence[str] = ("y",),
    inputs: Sequence[str] = ("x",),
) -> bytes:
    """An ONNX file of `nodes` that takes float32 `shape`."""
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info(name, float32, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(name, float32, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    # The checker wants shapes for outputs too.
    content: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return content


def expected(content: bytes, frames: Tensor) -> list[Tensor]:
    """Each output for `frames`, as onnxruntime computes the file frame by frame."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    runs = [session.run(None, {name: frame[None].numpy()}) for frame in frames]
    return [torch.cat([torch.from_numpy(run[i]) for run in runs]) for i in range(len(runs[0]))]


def frames(count: int, shape: Sequence[int] = SHAPE) -> Tensor:
    return torch.rand((count, *shape[1:]), generator=torch.Generator().manual_seed(count)) + 0.1
