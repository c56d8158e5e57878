"""Weights stored in FP16 and computed with in float32: half the file, the same operators.

DeepSense (thesis, section 2.5.4) halves what a GPU reads. onnxruntime's CPU kernels compute in float32 and widen the
weights once, when the file is loaded: measured, latency and resident memory are those of float32. What is halved is
the store, the archive and what a loader reads.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import fx, nn

from blockstore import torchform
from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms, to_onnx
from blockstore.build.kinds.base import Declined, Encoded, Facts, Material
from blockstore.build.kinds.fidelity import encoding_error, has_served_size

LARGEST: Final = torch.finfo(torch.float16).max
"""65504."""
_CAST_BYTES: Final = 128
"""What the node that widens a tensor takes in an ONNX file, with its names: tensors that save less stay as they are."""


def layers_of(module: fx.GraphModule) -> tuple[str, ...]:
    """Names of the convolution and linear layers, in the order in which they run; `Declined` where there is none."""
    modules = dict(module.named_modules())
    names = (str(node.target) for node in module.graph.nodes if node.op == "call_module")
    layers = tuple(dict.fromkeys(name for name in names if isinstance(modules[name], nn.Conv2d | nn.Linear)))
    if not layers:
        raise Declined("no convolution or linear layer whose weights could be halved")
    return layers


def rounded(module: fx.GraphModule, layers: Iterable[str]) -> fx.GraphModule:
    """A float32 copy of `module` whose weights in `layers` are numbers that FP16 has.

    Raises `Declined` where a weight is beyond `LARGEST`.
    """
    return _narrow(module, layers).float()


def encode(
    block: CutBlock,
    module: fx.GraphModule,
    layers: Collection[str],
    forms: Forms,
    material: Material,
    facts: Facts,
) -> Encoded:
    """`module`, whose float32 forms are `forms`, with the weights of `layers` in FP16, in both forms.

    Counts of layers join `facts`, and `encoding_error` where training images are of the size that is served. Raises
    `Declined` where a weight is beyond `LARGEST`, an output is not a number or the files would be no smaller.
    """
    narrow = _narrow(module, layers)
    written = torchform.save(narrow)
    # The operators are those of `forms`, which were compared with each other.
    halved = _stored_in_half(to_onnx(torchform.load(torchform.save(narrow.float())), (block.input,)))
    if len(halved) >= len(forms.onnx):
        raise Declined(f"its file would have {len(halved)} bytes, in float32 it has {len(forms.onnx)}")
    counts = {"layers": len(layers_of(module)), "layers_converted": len(layers)}
    error = {"encoding_error": encoding_error(halved, material)} if has_served_size(block, material) else {}
    return Encoded(replace(forms, onnx=halved, torch=written), {**counts, **facts, **error})


def _narrow(module: fx.GraphModule, layers: Iterable[str]) -> fx.GraphModule:
    """A copy with float16 tensors in `layers`; it is for storing, CPU kernels do not mix the two."""
    copied = copy.deepcopy(module)
    for name in layers:
        layer = copied.get_submodule(name)
        for kind, tensor in layer.named_parameters():
            # Not a number is beyond it, too.
            if not bool((tensor.abs() <= LARGEST).all()):
                largest = float(tensor.abs().max())
                raise Declined(f"{kind} of {name} reaches {largest:.4g}, FP16 ends at {LARGEST:g}")
        layer.half()
    return copied


def _stored_in_half(data: bytes) -> bytes:
    """The ONNX file with every tensor that FP16 holds exactly stored so, and a Cast that widens it again.

    onnxruntime folds the Cast when it loads the file. Operators that compute in float16 gain nothing on a CPU: their
    kernels are float32, and the casts in between keep it from fusing ReLU6 with a convolution.
    """
    model = onnx.load_from_string(data)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if 2 * values.size <= _CAST_BYTES or np.any(np.abs(values) > LARGEST):
            continue
        halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return bytes(model.SerializeToString(deterministic=True))
