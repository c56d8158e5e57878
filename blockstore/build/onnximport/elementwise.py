"""Operators without weights: activations, arithmetic, reductions, joining, padding, resizing."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from blockstore.build.onnximport.builder import Builder, Call, Value

Convert = Callable[[Call, Builder], Value]

_PAD_MODES: Final = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
"""ONNX's name for a way to pad -> torch's."""
_FLOAT: Final = 1
"""ONNX's number for float32."""


def same(call: Call, _: Builder) -> Value:
    """Identity, and Dropout when nothing is trained."""
    return call.value()


def cast(call: Call, _: Builder) -> Value:
    """Cast of the network's float32 to float32; anything else would leave the precision that blocks have."""
    if call.attributes["to"] != _FLOAT:
        raise call.refusal("it converts to another type than float32; export the network in float32 throughout")
    return call.value()


def activation(module: type[nn.Module], **settings: tuple[str, Any]) -> Convert:
    """A converter to `module`; `settings` gives for each of its arguments ONNX's attribute and default."""

    def convert(call: Call, builder: Builder) -> Value:
        arguments = {name: call.attributes.get(*setting) for name, setting in settings.items()}
        return builder.module(call, module(**arguments), call.value())

    return convert


def unary(function: Callable[..., Any]) -> Convert:
    """A converter to a function of every element."""

    def convert(call: Call, builder: Builder) -> Value:
        value = call.value()
        return builder.function(function, value, batch_axis=value.batch_axis)

    return convert


def binary(function: Callable[..., Any]) -> Convert:
    """A converter to a function of two tensors, one of which may be constant."""

    def convert(call: Call, builder: Builder) -> Value:
        values = [given for given in call.inputs if isinstance(given, Value)]
        first = values[0]
        if any(len(v.shape) - v.batch_axis != len(first.shape) - first.batch_axis for v in values):
            raise call.refusal("the frames of its inputs lie in different dimensions")
        operands = [_operand(call, builder, index, first) for index in range(2)]
        return builder.function(function, *operands, batch_axis=max(v.batch_axis for v in values))

    return convert


def clip(call: Call, builder: Builder) -> Value:
    """Clip, as the activation that it is where it is one."""
    low, high = call.setting("min", 1), call.setting("max", 2)
    if low is None and high is None:
        return call.value()
    if low == 0 and high is None:
        return builder.module(call, nn.ReLU(), call.value())
    if low == 0 and high == 6:
        return builder.module(call, nn.ReLU6(), call.value())
    if low is not None and high is not None and low < high:
        return builder.module(call, nn.Hardtanh(low, high), call.value())
    value = call.value()
    return builder.function(torch.clamp, value, low, high, batch_axis=value.batch_axis)


def hard_sigmoid(call: Call, builder: Builder) -> Value:
    """HardSigmoid: `clip(alpha * x + beta, 0, 1)`; torch's own has 1/6 and 1/2."""
    alpha, beta = call.attributes.get("alpha", 0.2), call.attributes.get("beta", 0.5)
    value = call.value()
    if math.isclose(alpha, 1 / 6, rel_tol=1e-4) and beta == 0.5:
        return builder.module(call, nn.Hardsigmoid(), value)
    scaled = builder.function(operator.mul, value, float(alpha), batch_axis=value.batch_axis)
    moved = builder.function(operator.add, scaled, float(beta), batch_axis=value.batch_axis)
    return builder.function(torch.clamp, moved, 0.0, 1.0, batch_axis=value.batch_axis)


def softmax(call: Call, builder: Builder) -> Value:
    """Softmax over one axis; before opset 13 it went over all axes from that one on."""
    value = call.value()
    rank = len(value.shape)
    axis = call.axis(call.attributes.get("axis", -1 if call.opset >= 13 else 1), rank)
    if call.opset < 13 and math.prod(value.shape[axis + 1 :]) != 1:
        raise call.refusal(f"in opset {call.opset} it goes over several axes; export with opset 13 or later")
    if axis == value.batch_axis:
        raise call.refusal("it goes over the frames of a batch")
    return builder.function(functional.softmax, value, dim=axis, batch_axis=value.batch_axis)


def concat(call: Call, builder: Builder) -> Value:
    """Concat along any axis but the batch."""
    values = [call.batched(i) for i in range(len(call.inputs))]
    axis = call.axis(call.attributes["axis"], len(values[0].shape))
    if axis == 0:
        raise call.refusal("it joins along the batch")
    return builder.function(torch.cat, values, axis)


def reduction(function: Callable[..., Any]) -> Convert:
    """A converter to a function that reduces some axes."""

    def convert(call: Call, builder: Builder) -> Value:
        value = call.batched()
        axes = call.setting("axes", 1)
        if not axes:
            raise call.refusal("it reduces every axis, the batch too")
        dims = tuple(sorted(call.axis(a, len(value.shape)) for a in axes))
        if 0 in dims:
            raise call.refusal("it reduces the batch")
        return builder.function(function, value, dims, bool(call.attributes.get("keepdims", 1)))

    return convert


def pad(call: Call, builder: Builder) -> Value:
    """Pad with a number, the border or a reflection."""
    value = call.batched()
    rank = len(value.shape)
    given = call.setting("pads", 1)
    if len(call.inputs) > 3 and call.inputs[3] is not None:
        raise call.refusal("it names axes; pads for all axes are supported")
    before, after = given[:rank], given[rank:]
    if before[0] or after[0]:
        raise call.refusal("it pads the batch")
    # torch counts from the last axis; those that are not padded need no mention.
    pairs = [amount for axis in reversed(range(1, rank)) for amount in (before[axis], after[axis])]
    while pairs and pairs[-2:] == [0, 0]:
        del pairs[-2:]
    if not pairs:
        return value
    mode = _PAD_MODES.get(call.attributes.get("mode", "constant"))
    if mode is None:
        raise call.refusal(f"mode {call.attributes['mode']}; constant, edge and reflect are supported")
    if mode != "constant":
        return builder.function(functional.pad, value, tuple(pairs), mode)
    fill = call.setting("value", 2, 0.0)
    return builder.function(functional.pad, value, tuple(pairs), value=float(fill))


def resize(call: Call, builder: Builder) -> Value:
    """Resize and Upsample of height and width, nearest or linear."""
    value = call.batched()
    height, width = _resized(call, value)
    mode = call.attributes.get("mode", "nearest")
    if mode == "nearest":
        return builder.function(functional.interpolate, value, size=(height, width), mode="nearest")
    if mode != "linear":
        raise call.refusal(f"mode {mode}; nearest and linear are supported")
    aligned = call.attributes.get("coordinate_transformation_mode", "half_pixel") == "align_corners"
    return builder.function(functional.interpolate, value, size=(height, width), mode="bilinear", align_corners=aligned)


def depth_to_space(call: Call, builder: Builder) -> Value:
    """DepthToSpace in the order of torch's pixel shuffle."""
    if call.attributes.get("mode", "DCR") != "CRD":
        raise call.refusal("mode DCR; CRD is supported")
    return builder.function(functional.pixel_shuffle, call.batched(), call.attributes["blocksize"])


def _resized(call: Call, value: Value) -> tuple[int, int]:
    """Height and width of the result; sizes win over scales."""
    # Opset 10 has (x, scales), later ones (x, roi, scales, sizes).
    place = 1 if call.opset < 11 else 2
    sizes = call.setting("sizes", 3)
    if not sizes:
        scales = call.setting("scales", place)
        sizes = [math.floor(size * scale) for size, scale in zip(value.shape, scales, strict=True)]
    if len(sizes) != 4 or tuple(sizes[:2]) != value.shape[:2]:
        raise call.refusal(f"{list(value.shape)} to {sizes}; only height and width can change")
    return int(sizes[2]), int(sizes[3])


def _operand(call: Call, builder: Builder, index: int, other: Value) -> Value | float:
    """A value, a plain number where a constant has one element, or the constant as part of the graph."""
    given = call.inputs[index]
    if isinstance(given, Value):
        return given
    content = call.weights(index)
    if content.size == 1 and content.ndim <= len(other.shape):
        return float(content.reshape(()))
    # Shapes are aligned at their ends; this is the constant's dimension beside the batch, where it has one.
    beside = content.ndim - (len(other.shape) - other.batch_axis)
    if content.ndim > len(other.shape) or (beside >= 0 and content.shape[beside] != 1):
        raise call.refusal(f"its constant {list(content.shape)} has a part for every frame")
    return builder.constant(call, content.astype(np.float32))
