"""INT8: a block quantised with the ranges that calibration images give, `int8` or `int8:IMAGES` (onnxruntime only).

Beyond the papers. Weights are signed with one scale for each output channel, activations unsigned with one for each
tensor: on an x86 CPU with VNNI instructions signed activations took 1.6 to 3 times as long. Ranges are the smallest and
largest values: entropy and percentiles gave no higher accuracy, keep all activations in memory, and print. x86 CPUs
without VNNI add products of 8 bits with saturation in 16: accuracy measured on another CPU does not hold there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, shape_inference
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.quant_utils import add_infer_metadata
from torch import Tensor, fx

from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms, session
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Encoded, Encoding, Material
from blockstore.build.kinds.fidelity import encoding_error, has_served_size

Array = npt.NDArray[Any]

DEFAULT_IMAGES: Final = 128
"""More changed the accuracy of ResNet-20 by less than its spread."""
_AT_ONCE: Final = 4
"""Images whose activations are in memory together while ranges are taken, every tensor of the block: 0.5 GiB for the
whole of MobileNetV2 at 224 x 224."""
LAYERS: Final = ("Conv", "Gemm", "MatMul")
QUANTISED: Final = (
    *LAYERS,
    # What stands between layers: one of these left in float32 would cost two conversions of a tensor.
    *("Add", "Mul", "Concat", "Relu", "Clip", "Sigmoid"),
    *("MaxPool", "GlobalAveragePool", "Resize"),
    *("Flatten", "Reshape", "Transpose", "Slice", "Split", "Pad"),
)
"""ONNX operators that are quantised."""
_JOINS: Final = ("Concat", "Flatten", "Reshape", "Transpose", "Unsqueeze", "Sigmoid", "Softmax")


def parse(arguments: Sequence[str]) -> Encoding:
    """The kind of `[IMAGES]`; raises `CannotBuild`."""
    given.check_count(arguments, 0, 1, "int8 or int8:IMAGES")
    return Int8(given.count(arguments[0], "the number of calibration images") if arguments else DEFAULT_IMAGES)


@dataclass(frozen=True, slots=True)
class Int8:
    """Calibrates on the first `images` calibration images, or on all where there are fewer."""

    images: int

    def encode(
        self,
        block: CutBlock,
        module: fx.GraphModule,  # noqa: ARG002  # `forms` are all that is needed of it
        forms: Forms,
        material: Material,
    ) -> Encoded:
        """The ONNX form of `forms` in INT8; input and output keep their types. There is no torch form.

        Raises `Declined` where no layer can be quantised, where training images are not of the size that is served, or
        where an output is not a number.
        """
        if not has_served_size(block, material):
            raise Declined("its ranges come from training images of the size that is served; these are of another")
        model = onnx.load_from_string(forms.onnx)
        head = float_head(model.graph, frames=block.input.dtype == "uint8")
        layers = [node for node in model.graph.node if node.op_type in LAYERS]
        quantised = [node for node in layers if node.name not in head]
        if not quantised:
            raise Declined("no layer to quantise: a convolution on camera frames is faster in float32")
        _hold_pooling(model.graph, head)
        data = _quantised(model, head | float_tail(model.graph), _first(material.batches(), self.images))
        return Encoded(
            replace(forms, onnx=data, torch=None),
            {
                "layers": len(layers),
                "layers_converted": len(quantised),
                "encoding_error": encoding_error(data, material),
            },
        )


def float_head(graph: onnx.GraphProto, frames: bool) -> frozenset[str]:
    """Names of the first nodes, which stay in float32: up to the first layer, or the second one behind `frames`.

    Frames have three channels: a quantised convolution on them, with all that it takes to get there, took up to three
    times as long as in float32 and never less, and its rounding is the first that all later layers see.
    """
    layers = [position for position, node in enumerate(graph.node) if node.op_type in LAYERS]
    kept = layers[1:] if frames else layers
    return frozenset(node.name for node in graph.node[: kept[0] if kept else len(graph.node)])


def float_tail(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of the last nodes, which stay in float32: those that only join, reshape and squash what the block gives.

    The outputs of a detector leave as one tensor. Quantised, that had one scale for logits and for sizes. A softmax is
    no quicker in INT8: the heads of FastestDet took 0.61 ms with theirs in INT8, and 0.53 ms so.
    """
    makers = {output: node for node in graph.node for output in node.output}
    waiting, found = [output.name for output in graph.output], set[str]()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type in _JOINS:
            found.add(node.name)
            waiting.extend(node.input)
    return frozenset(found)


def _hold_pooling(graph: onnx.GraphProto, head: frozenset[str]) -> None:
    """Put a maximum of one tensor, which is that tensor, behind every max-pooling of `head` and all average-pooling.

    onnxruntime would pool what is quantised. For 64 channels of 112 x 112 pixels its uint8 kernel takes 3.5 ms for the
    maximum and the float32 one 0.06 ms; for 48 channels of 44 x 44 pixels 0.19 ms for the average and 0.01 ms.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "AveragePool" or (node.op_type == "MaxPool" and node.name in head):
            (output,) = node.output
            node.output[0] = f"{output}.pooled"
            nodes.append(helper.make_node("Max", [node.output[0]], [output], name=f"{node.name}.held"))
    del graph.node[:]
    graph.node.extend(nodes)


def _first(batches: Iterator[tuple[Tensor, Tensor]], images: int) -> Iterator[Array]:
    """The inputs of the first `images` images, `_AT_ONCE` of a batch at a time."""
    for inputs, _ in batches:
        yield from (part.numpy() for part in torch.split(inputs[:images], _AT_ONCE))
        images -= len(inputs)
        if images <= 0:
            return


def _quantised(model: onnx.ModelProto, kept: frozenset[str], inputs: Iterable[Array]) -> bytes:
    """What `onnxruntime.quantization.quantize_static` does, on one thread and without files, which a disk may refuse.

    Nodes called as in `kept` stay in float32.
    """
    inferred = shape_inference.infer_shapes(model)
    # The mark of the library's own inference, which goes through a file.
    add_infer_metadata(inferred)
    quantizer = QDQQuantizer(
        inferred,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=_ranges(inferred, inputs),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(kept),
        op_types_to_quantize=QUANTISED,
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return bytes(quantizer.model.model.SerializeToString(deterministic=True))


def _ranges(model: onnx.ModelProto, inputs: Iterable[Array]) -> TensorsData:
    """Smallest and largest value over `inputs` of every float32 tensor; `model` has the types of its tensors."""
    typed = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    constants = {tensor.name for tensor in model.graph.initializer}
    names = sorted({v.name for v in typed if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT} - constants)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        for operator in ("ReduceMin", "ReduceMax"):
            found = f"{name}.{operator}"
            watched.graph.node.append(helper.make_node(operator, [name], [found], name=found, keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(found, onnx.TensorProto.FLOAT, []))
    loaded = session(watched.SerializeToString(), threads=1)
    # One row for each batch: smallest and largest of the first tensor, of the second, ...
    extremes: Array = np.array([loaded.run(None, {"input": batch}) for batch in inputs])
    pairs = zip(extremes[:, ::2].min(axis=0), extremes[:, 1::2].max(axis=0), strict=True)
    return TensorsData(CalibrationMethod.MinMax, dict(zip(names, pairs, strict=True)))
