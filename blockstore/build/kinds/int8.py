"""INT8: a block quantised with the ranges that calibration images give, `int8` or `int8:BATCHES` (onnxruntime only).

Beyond the papers. Weights are signed with one scale for each output channel, activations unsigned with one for each
tensor: on an x86 CPU with VNNI instructions signed activations took 1.6 to 3 times as long. Ranges are the smallest and
largest values: entropy and percentiles gave no higher accuracy, keep all activations in memory, and print. x86 CPUs
without VNNI add products of 8 bits with saturation in 16: accuracy measured on another CPU does not hold there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnxruntime.quantization import MinMaxCalibrater, QDQQuantizer, QuantType
from torch import fx

from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms, session
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Encoded, Encoding, Material
from blockstore.build.kinds.fidelity import output_error

Array = npt.NDArray[np.generic]

DEFAULT_BATCHES: Final = 4
"""More changed the accuracy of ResNet-20 by less than its spread."""
LAYERS: Final = ("Conv", "Gemm", "MatMul")
QUANTISED: Final = (
    *LAYERS,
    # What stands between layers: one of these left in float32 would cost two conversions of a tensor.
    *("Add", "Mul", "Concat", "Relu", "Clip", "Sigmoid"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Resize"),
    *("Flatten", "Reshape", "Transpose", "Slice", "Split", "Pad"),
)
"""ONNX operators that are quantised."""


def parse(arguments: Sequence[str]) -> Encoding:
    """The kind of `[BATCHES]`; raises `CannotBuild`."""
    given.check_count(arguments, 0, 1, "int8 or int8:BATCHES")
    return Int8(given.count(arguments[0], "the number of calibration batches") if arguments else DEFAULT_BATCHES)


@dataclass(frozen=True, slots=True)
class Int8:
    """Calibrates on the first `batches` batches, or on all where there are fewer."""

    batches: int

    def encode(
        self,
        block: CutBlock,
        module: fx.GraphModule,  # noqa: ARG002  # `forms` are all that is needed of it
        forms: Forms,
        material: Material,
    ) -> Encoded:
        """The ONNX form of `forms` in INT8; input and output keep their types. There is no torch form.

        Raises `Declined` where no layer can be quantised or an output is not a number.
        """
        model = onnx.load_from_string(forms.onnx)
        head = float_head(model.graph, frames=block.input.dtype == "uint8")
        layers = [node for node in model.graph.node if node.op_type in LAYERS]
        quantised = [node for node in layers if node.name not in head]
        if not quantised:
            raise Declined("no layer to quantise: a convolution on camera frames is faster in float32")
        _hold_pooling(model.graph, head)
        inputs = (x.numpy() for x, _ in islice(material.batches(), self.batches))
        data = _quantised(model, head, inputs)
        return Encoded(
            replace(forms, onnx=data, torch=None),
            {
                "layers": len(layers),
                "layers_converted": len(quantised),
                "output_error": output_error(data, material),
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


def _hold_pooling(graph: onnx.GraphProto, head: frozenset[str]) -> None:
    """Put a maximum of one tensor, which is that tensor, behind every max-pooling of `head`.

    onnxruntime would move the quantisation in front of the pooling, where its uint8 kernel takes 3.5 ms for 64 channels
    of 112 x 112 pixels and the float32 one 0.06 ms.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "MaxPool" and node.name in head:
            (output,) = node.output
            node.output[0] = f"{output}.pooled"
            nodes.append(helper.make_node("Max", [node.output[0]], [output], name=f"{node.name}.held"))
    del graph.node[:]
    graph.node.extend(nodes)


def _quantised(model: onnx.ModelProto, head: frozenset[str], inputs: Iterator[Array]) -> bytes:
    """What `onnxruntime.quantization.quantize_static` does, on one thread and in its own folder."""
    with tempfile.TemporaryDirectory(prefix="int8-") as folder:
        path = Path(folder) / "block.onnx"
        onnx.save(model, path)
        calibrater = _Calibrater(path, QUANTISED, str(path.with_name("augmented.onnx")))
        calibrater.augment_graph()
        calibrater.create_inference_session()
        calibrater.collect_data(_Reader(inputs))
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=calibrater.compute_data(),
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(head),
            op_types_to_quantize=QUANTISED,
            extra_options={},
        )
        quantizer.quantize_model()
    quantizer.model.topological_sort()
    return bytes(quantizer.model.model.SerializeToString(deterministic=True))


class _Calibrater(MinMaxCalibrater):  # type: ignore[misc]  # onnxruntime is not typed
    """Takes one thread where the library takes all cores, which other processes build on."""

    def create_inference_session(self) -> None:
        self.infer_session = session(Path(self.augmented_model_path).read_bytes(), threads=1)


class _Reader:
    """A `CalibrationDataReader` of onnxruntime: inputs of the block, one batch in memory at a time."""

    def __init__(self, inputs: Iterator[Array]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None after the last."""
        batch = next(self._inputs, None)
        return None if batch is None else {"input": batch}
