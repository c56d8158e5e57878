"""Import: an ONNX file becomes an fx graph of the torch form's operators; open this file first.

    file -> nodes in order -> each through its converter -> graph -> compared with onnxruntime on the file itself

A file has batch 1 written into it, the graph takes any number of frames. Constants are folded, so that shape arithmetic
disappears. Convolutions are modules that are called as the file calls their weights or nodes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, fx, nn

from blockstore.build.onnximport import elementwise, layers, movement
from blockstore.build.onnximport.builder import Builder, Call, Constant, Value
from blockstore.build.onnximport.file import OnnxFile, read
from blockstore.errors import CannotBuild, UnsupportedOperator

TOLERANCE: Final = 1e-4
"""Largest difference allowed from what onnxruntime computes with the file, relative to the largest output."""

Converter = Callable[[Call, Builder], Value | tuple[Value, ...]]

CONVERTERS: Final[Mapping[str, Converter]] = {
    "Abs": elementwise.unary(torch.abs),
    "Add": elementwise.binary(operator.add),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.normalisation,
    "Cast": elementwise.cast,
    "Clip": elementwise.clip,
    "Concat": elementwise.concat,
    "Conv": layers.convolution,
    "ConvTranspose": layers.transposed_convolution,
    "DepthToSpace": elementwise.depth_to_space,
    "Div": elementwise.binary(operator.truediv),
    "Dropout": elementwise.same,
    "Elu": elementwise.activation(nn.ELU, alpha=("alpha", 1.0)),
    "Erf": elementwise.unary(torch.erf),
    "Exp": elementwise.unary(torch.exp),
    "Flatten": movement.flatten,
    "Gather": movement.gather,
    "Gelu": elementwise.activation(nn.GELU, approximate=("approximate", "none")),
    "Gemm": layers.general_product,
    "GlobalAveragePool": layers.global_average_pool,
    "GlobalMaxPool": layers.global_max_pool,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.activation(nn.Hardswish),
    "Identity": elementwise.same,
    "LeakyRelu": elementwise.activation(nn.LeakyReLU, negative_slope=("alpha", 0.01)),
    "MatMul": layers.product,
    "MaxPool": layers.max_pool,
    "Mish": elementwise.activation(nn.Mish),
    "Mul": elementwise.binary(operator.mul),
    "Neg": elementwise.unary(operator.neg),
    "PRelu": layers.parametric_relu,
    "Pad": elementwise.pad,
    "Pow": elementwise.binary(operator.pow),
    "ReduceMax": elementwise.reduction(torch.amax),
    "ReduceMean": elementwise.reduction(torch.mean),
    "ReduceSum": elementwise.reduction(torch.sum),
    "Relu": elementwise.activation(nn.ReLU),
    "Reshape": movement.reshape,
    "Resize": elementwise.resize,
    "Sigmoid": elementwise.activation(nn.Sigmoid),
    "Slice": movement.slices,
    "Softmax": elementwise.softmax,
    "Softplus": elementwise.activation(nn.Softplus),
    "Split": movement.split,
    "Sqrt": elementwise.unary(torch.sqrt),
    "Squeeze": movement.squeeze,
    "Sub": elementwise.binary(operator.sub),
    "Tanh": elementwise.activation(nn.Tanh),
    "Transpose": movement.transpose,
    "Unsqueeze": movement.unsqueeze,
    "Upsample": elementwise.resize,
}


def import_onnx(source: Path | bytes) -> fx.GraphModule:
    """The network of an ONNX file (a path, or its content), in evaluation mode.

    It takes float32 `[batch, channels, h, w]` of the file's size, for any batch, and gives the file's output, or a
    tuple of its outputs. Raises `UnsupportedOperator` for an operator that is not in `CONVERTERS`, `CannotBuild` for a
    file that cannot be read or expressed, or whose graph computes something else than onnxruntime does.
    """
    file = read(source)
    builder = Builder(torch.zeros(file.frame))
    known: dict[str, Value | Constant] = {**file.constants, file.input: builder.input}
    names = _Names(file.constants)
    for node in file.nodes:
        known.update(_results(node, known, file.opset, names, builder))
    network = builder.finish(tuple(_output(name, known[name]) for name in file.outputs))
    _compare(network, file)
    return network


def _results(
    node: onnx.NodeProto,
    known: Mapping[str, Value | Constant],
    opset: int,
    names: _Names,
    builder: Builder,
) -> Mapping[str, Value | Constant]:
    """The outputs of `node` by name."""
    inputs = tuple(known[name] if name else None for name in node.input)
    if node.op_type == "Shape" and isinstance(inputs[0], Value):
        return {node.output[0]: _shape(node, inputs[0])}
    if not any(isinstance(given, Value) for given in inputs):
        return _folded(node, inputs, opset)
    if node.domain not in ("", "ai.onnx") or node.op_type not in CONVERTERS:
        title = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise UnsupportedOperator(
            f"operator {title} (node {node.name!r}) cannot be imported; supported are {', '.join(CONVERTERS)}: "
            "export the network without it (what follows the last tensors of the network belongs to the app)"
        )
    attributes = {a.name: _attribute(a) for a in node.attribute}
    # An output without a name is not wanted.
    wanted = len([name for name in node.output if name])
    call = Call(node.op_type, node.name, names.of(node), opset, inputs, attributes, wanted)
    try:
        made = CONVERTERS[node.op_type](call, builder)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise call.refusal(f"{type(error).__name__}: {error}") from error
    values = made if isinstance(made, tuple) else (made,)
    for value in values:
        value.node.meta.setdefault("label", call.name)
    return dict(zip(node.output, values, strict=False))


def _folded(node: onnx.NodeProto, inputs: tuple[Any, ...], opset: int) -> dict[str, Constant]:
    """The outputs of a node of constants, computed by ONNX's own reference."""
    unknown = [helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in (*node.input, *node.output)]
    given, wanted = unknown[: len(node.input)], unknown[len(node.input) :]
    graph = helper.make_graph([node], "constant", [i for i in given if i.name], [o for o in wanted if o.name])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if name}
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:
        # The reference raises errors of every kind.
        raise CannotBuild(f"operator {node.op_type} (node {node.name!r}) of constants: {error}") from error
    return dict(zip([name for name in node.output if name], map(np.asarray, results), strict=True))


def _shape(node: onnx.NodeProto, value: Value) -> Constant:
    """Shape of one frame: what is made of it keeps the batch free (see `movement`)."""
    bounds = {a.name: a.i for a in node.attribute}
    return np.array(value.shape[bounds.get("start", 0) : bounds.get("end")], np.int64)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value


def _output(name: str, value: Value | Constant) -> Value:
    if not isinstance(value, Value):
        raise CannotBuild(f"output {name!r} does not depend on the image")
    return value


class _Names:
    """Names for modules: those of the weights where they have some, else those of the nodes, without repetition."""

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        self._constants = constants
        self._taken: set[str] = set()

    def of(self, node: onnx.NodeProto) -> str:
        """A name that no other node has."""
        weights = [i for i in node.input if i in self._constants and i.endswith(".weight")]
        wanted = weights[0].removesuffix(".weight") if weights else _plain(node.name, node.op_type)
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def _plain(name: str, operator_type: str) -> str:
    """`/features/features.0/conv/conv.0/Conv` is what torch writes for the layer `features.0.conv.0`."""
    parts: list[str] = []
    for part in filter(None, name.split("/")):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    if len(parts) > 1 and re.fullmatch(rf"{operator_type}(_\d+)?", parts[-1]):
        parts.pop()
    return re.sub(r"[^\w.]", "_", ".".join(parts)) or operator_type


def _compare(network: fx.GraphModule, file: OnnxFile) -> None:
    """`CannotBuild` unless two random frames at once give what onnxruntime gives for each."""
    frames = torch.rand((2, *file.frame[1:]), generator=torch.Generator().manual_seed(0))
    expected = _by_onnxruntime(file, frames)
    try:
        with torch.no_grad():
            made = network(frames)
    except RuntimeError as error:
        raise CannotBuild(f"the imported network does not run on two frames at once: {error}") from error
    for name, wanted, got in zip(file.outputs, expected, made if isinstance(made, tuple) else (made,), strict=True):
        if got.shape != wanted.shape:
            raise CannotBuild(
                f"output {name!r} is {list(got.shape)} for two frames, not {list(wanted.shape)}: frames must come first"
            )
        difference = float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
        # Not a number is no agreement either.
        if not difference <= TOLERANCE:
            raise CannotBuild(f"output {name!r} differs from onnxruntime's by {difference:.2g}, allowed is {TOLERANCE}")


def _by_onnxruntime(file: OnnxFile, frames: Tensor) -> list[Tensor]:
    """Each output of the file for `frames`, one frame at a time, joined."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            file.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        runs = [session.run(list(file.outputs), {file.input: frame[None].numpy()}) for frame in frames]
    except Exception as error:
        # onnxruntime's errors have no common class that it exports.
        raise CannotBuild(f"onnxruntime does not run the file: {error}") from error
    return [torch.cat([torch.from_numpy(np.asarray(run[i])) for run in runs]) for i in range(len(file.outputs))]
