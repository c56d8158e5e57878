"""An ONNX file, read and checked: one image in, constants apart, only the nodes that the outputs need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.inliner
from onnx import numpy_helper

from blockstore.build.onnximport.builder import Constant
from blockstore.errors import CannotBuild

OPSETS: Final = range(9, 21)
"""Versions of the ONNX operators that are read."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A network as its file has it."""

    model: onnx.ModelProto
    opset: int
    input: str
    frame: tuple[int, int, int, int]
    """`[1, channels, h, w]`"""
    outputs: tuple[str, ...]
    constants: dict[str, Constant]
    nodes: tuple[onnx.NodeProto, ...]
    """In order; what no output needs is left out."""


def read(source: Path | bytes) -> OnnxFile:
    """The network in `source`, a path or a file's content.

    Raises `CannotBuild` for what is no ONNX file, has another opset than `OPSETS`, or does not take one float32 tensor
    `[1, channels, h, w]` of known size.
    """
    model = _checked(source)
    opset = _opset(model)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    name, frame = _input(model.graph, constants)
    outputs = tuple(o.name for o in model.graph.output)
    return OnnxFile(model, opset, name, frame, outputs, constants, _needed(model.graph, outputs))


def _checked(source: Path | bytes) -> onnx.ModelProto:
    name = "the file" if isinstance(source, bytes) else str(source)
    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
        onnx.checker.check_model(model)
    except OSError as error:
        raise CannotBuild(f"cannot read {name}: {error}") from error
    # Errors of protobuf and of the checker have no common class.
    except Exception as error:
        raise CannotBuild(f"{name} is no sound ONNX file: {_first_line(error)}") from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _opset(model: onnx.ModelProto) -> int:
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset not in OPSETS:
        raise CannotBuild(
            f"the file has opset {opset}; {OPSETS.start} to {OPSETS.stop - 1} are read: export it again, or use "
            "onnx.version_converter"
        )
    return int(opset)


def _input(graph: onnx.GraphProto, constants: dict[str, Constant]) -> tuple[str, tuple[int, int, int, int]]:
    # Before IR version 4 the constants were listed among the inputs.
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(i.name) for i in inputs)
        raise CannotBuild(f"the network has {len(inputs)} inputs ({names}); one image is supported")
    tensor = inputs[0].type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    sizes: list[Any] = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    shown = f"input {inputs[0].name!r} is {kind.lower()}[{'x'.join(map(str, sizes))}]"
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(sizes) != 4:
        raise CannotBuild(f"{shown}; float[batch x channels x h x w] is supported")
    batch, channels, height, width = sizes
    if isinstance(batch, int) and batch != 1:
        raise CannotBuild(f"{shown}: its batch is {batch}; export the network with a batch of 1, or a free one")
    if not all(isinstance(size, int) and size > 0 for size in sizes[1:]):
        raise CannotBuild(
            f"{shown}: the size of the image is free; fix it, for example with "
            "python -m onnxruntime.tools.make_dynamic_shape_fixed"
        )
    return inputs[0].name, (1, channels, height, width)


def _needed(graph: onnx.GraphProto, outputs: tuple[str, ...]) -> tuple[onnx.NodeProto, ...]:
    wanted = set(outputs)
    needed = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            needed.append(node)
            wanted.update(node.input)
    return tuple(reversed(needed))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
