"""What an ONNX blob really runs: the kernels that are left when onnxruntime is done with the graph, and their shapes.

Between the file and what runs stand fusions (a normalisation, an activation or a sum becomes part of a convolution and
costs nothing), folded constants, and the channel-blocked layout, into which tensors are reordered and back: in a block
of MobileNetV2 that was a third of the time. Which of it happens depends on the CPU and on the version, so it is not
guessed from the graph: onnxruntime is asked, by its profile of a single run on zeros, whose times are not looked at.
That also needs no `onnx` package. It took 2 to 10 ms a blob, where measuring one takes hundreds of runs. It runs the
blob: do it where a crash is contained.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from blockprofiles.errors import CannotRun
from blockstore.block import Artifact, TensorSpec

CONVOLUTIONS: Final = frozenset(
    {"Conv", "FusedConv", "QLinearConv", "ConvInteger", "ConvTranspose", "NhwcFusedConv", "NhwcQLinearConv"}
)
PRODUCTS: Final = frozenset({"Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul"})
WHOLE: Final = "Whole"
"""Type of a block that is taken as one operator."""
_DTYPES: Final = {"float": "float32", "double": "float64"}
"""Element types whose names are not those of numpy."""
_FEW_MAPS: Final = 16
"""Fewer are not blocked: the widest vectors hold 16 of them."""
_BLOCKED: Final = "_nchwc_kernel_time"
"""End of the event of a kernel that works on channel-blocked tensors, which has the name of the plain one."""
_EVENT_END: Final = "_kernel_time"

Tensors = Sequence[tuple[str, tuple[int, ...]]]
"""Element type and shape of each."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One kernel: its type, and what its time may depend on, for a batch of one frame."""

    type: str
    """Of onnxruntime; convolutions by what they do as well: `Conv/depthwise`, `Conv/blocked/pointwise`."""
    inputs: int
    """Elements of the activations that it reads."""
    outputs: int
    """Elements that it writes."""
    moved_bytes: int
    """Of both."""
    weight_bytes: int = 0
    """Of the constants that it reads, in the precision that it computes with."""
    multiply_adds: int = 0
    """With the channels that pad a group of blocked ones: those are computed too."""
    output_width: int = 1
    """Of a convolution: places in a row of its output; kernels work on several at once, and lose where rows end."""


def operators_of(path: Path) -> tuple[Operator, ...]:
    """Kernels of the block or head in the ONNX file `path`, in the order they run; `CannotRun` with the reason."""
    try:
        events = _events(path)
        kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_EVENT_END)]
        return tuple(_operator(e["name"], e["args"]) for e in kernels)
    except Exception as error:  # onnxruntime's own classes have no common base of their own
        raise CannotRun(
            f"the operators of {path} cannot be read: {error}; build its model again, or remove it from the store"
        ) from error


def whole(
    artifact: Artifact, precision: str, inputs: Sequence[TensorSpec], output: TensorSpec, multiply_adds: int
) -> tuple[Operator, ...]:
    """A block or head as one operator, from its manifest: for engines that cannot be asked, and unreadable blobs.

    `precision` sets those apart that compute otherwise, such as `integer`.
    """
    tensors = (*inputs, output)
    return (
        Operator(
            type=f"{WHOLE}/{artifact.engine}/{precision}",
            inputs=sum(math.prod(spec.shape) for spec in inputs),
            outputs=math.prod(output.shape),
            moved_bytes=sum(np.dtype(spec.dtype).itemsize * math.prod(spec.shape) for spec in tensors),
            weight_bytes=artifact.size_bytes,
            multiply_adds=multiply_adds,
        ),
    )


def _events(path: Path) -> list[dict[str, Any]]:
    """The profile of one run, as onnxruntime writes it."""
    # Here: the daemon with another engine has no use for it.
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="operators-") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        # A weight that was packed for its kernel is no longer an input, and its shape not told.
        options.add_session_config_entry("session.disable_prepacking", "1")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        session.run(None, {node.name: _zeros(node.type, node.shape) for node in session.get_inputs()})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_bytes())
    return events


def _zeros(kind: str, shape: Sequence[int | str | None]) -> np.ndarray[Any, Any]:
    """An input of the type `tensor(float)`; what has no size is the batch."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return np.zeros([d if isinstance(d, int) else 1 for d in shape], np.dtype(_DTYPES.get(name, name)))


def _operator(event: str, arguments: Mapping[str, Any]) -> Operator:
    kind = arguments["op_name"]
    inputs, outputs = _tensors(arguments["input_type_shape"]), _tensors(arguments["output_type_shape"])
    if kind in CONVOLUTIONS:
        return _convolution(kind, event.endswith(_BLOCKED), inputs, outputs)
    constant_bytes = int(arguments["parameter_size"])
    depth = inputs[0][1][-1] if kind in PRODUCTS and inputs[0][1] else 0
    activations = _without_constants(inputs, constant_bytes)
    return Operator(
        type=kind,
        inputs=_elements(activations),
        outputs=_elements(outputs),
        moved_bytes=_bytes(activations) + _bytes(outputs),
        weight_bytes=constant_bytes,
        multiply_adds=depth * _elements(outputs),
    )


def _without_constants(inputs: Tensors, constant_bytes: int) -> Tensors:
    """Which inputs are constant is not told, only their bytes together: the last ones that fit into these."""
    activations = []
    for tensor in reversed(inputs):
        if _bytes([tensor]) <= constant_bytes:
            constant_bytes -= _bytes([tensor])
        else:
            activations.append(tensor)
    return activations


def _convolution(kind: str, blocked: bool, inputs: Tensors, outputs: Tensors) -> Operator:
    """Inputs are the maps, perhaps scales, the weights `[filters, maps / groups, h, w]`, perhaps a sum to add to."""
    (_, maps), (_, result) = inputs[0], outputs[0]
    weights = next(tensor for tensor in inputs[1:] if len(tensor[1]) == len(maps))
    filters, depth, *sides = weights[1]
    activations = [t for t in inputs if t is not weights]
    each_used = math.prod(maps if kind == "ConvTranspose" else result)
    # The maps are channels first or last; whichever makes groups of `depth`.
    channels_last = result[1] != filters and result[-1] == filters
    channels = maps[-1] if channels_last else maps[1]
    work = "depthwise" if depth == 1 < channels else "pointwise" if math.prod(sides) == 1 else "spatial"
    # The first convolution of a network reads planes as they are and writes blocks of channels.
    work = "first" if blocked and work == "spatial" and depth == channels < filters and depth < _FEW_MAPS else work
    return Operator(
        type=f"{kind}/blocked/{work}" if blocked else f"{kind}/{work}",
        inputs=_elements(activations),
        outputs=_elements(outputs),
        moved_bytes=_bytes(activations) + _bytes(outputs),
        weight_bytes=_bytes([weights]),
        multiply_adds=each_used * depth * math.prod(sides),
        output_width=result[-2] if channels_last else result[-1],
    )


def _tensors(described: Sequence[Mapping[str, Sequence[int]]]) -> Tensors:
    """`[{"float": [1, 16, 32, 32]}, ...]` as pairs."""
    return [(kind, tuple(shape)) for tensor in described for kind, shape in tensor.items()]


def _elements(tensors: Tensors) -> int:
    return sum(math.prod(shape) for _, shape in tensors)


def _bytes(tensors: Tensors) -> int:
    return sum(np.dtype(_DTYPES.get(kind, kind)).itemsize * math.prod(shape) for kind, shape in tensors)
