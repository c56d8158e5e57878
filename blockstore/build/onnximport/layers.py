"""Operators with weights or windows as modules: convolution, linear, normalisation, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from blockstore.build.onnximport.builder import Builder, Call, Constant, Value

# Below every real value, and unlike minus infinity it can be written as JSON.
_LOWEST: Final = float(np.finfo(np.float32).min)


def convolution(call: Call, builder: Builder) -> Value:
    """Conv over height and width."""
    weight = call.weights(1)
    _check_plane(call, weight)
    kernel = weight.shape[2:]
    strides, dilations = _pair(call, "strides"), _pair(call, "dilations")
    value, padding = _padded(call, builder, kernel, strides, dilations, 0.0)
    groups = call.attributes.get("group", 1)
    module = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], kernel, strides, padding, dilations, groups, bias=_has_bias(call)
    )
    return builder.module(call, _filled(call, module, weight), value)


def transposed_convolution(call: Call, builder: Builder) -> Value:
    """ConvTranspose over height and width, with explicit padding."""
    weight = call.weights(1)
    _check_plane(call, weight)
    top, left, bottom, right = call.attributes.get("pads", (0, 0, 0, 0))
    automatic = call.attributes.get("auto_pad", "NOTSET")
    if (top, left) != (bottom, right) or automatic != "NOTSET" or "output_shape" in call.attributes:
        raise call.refusal("only equal padding on opposite sides is supported")
    groups = call.attributes.get("group", 1)
    module = nn.ConvTranspose2d(
        weight.shape[0],
        weight.shape[1] * groups,
        weight.shape[2:],
        _pair(call, "strides"),
        (top, left),
        tuple(call.attributes.get("output_padding", (0, 0))),
        groups,
        bias=_has_bias(call),
        dilation=_pair(call, "dilations"),
    )
    return builder.module(call, _filled(call, module, weight), call.batched())


def general_product(call: Call, builder: Builder) -> Value:
    """Gemm of a matrix of frames with a constant matrix: a linear layer."""
    if call.attributes.get("transA", 0):
        raise call.refusal("its first matrix is transposed, which mixes frames")
    weight = call.weights(1) * np.float32(call.attributes.get("alpha", 1.0))
    if not call.attributes.get("transB", 0):
        weight = weight.T
    bias = None
    if _has_bias(call):
        bias = np.broadcast_to(call.weights(2).reshape(-1), (len(weight),)) * np.float32(
            call.attributes.get("beta", 1.0)
        )
    return _linear(call, builder, weight, bias)


def product(call: Call, builder: Builder) -> Value:
    """MatMul: a linear layer where the second matrix is constant."""
    if isinstance(call.inputs[1], Value):
        return builder.function(torch.matmul, call.batched(0), call.batched(1))
    weight = call.weights(1)
    if weight.ndim != 2:
        raise call.refusal(f"its constant has {weight.ndim} dimensions; 2 are supported")
    return _linear(call, builder, weight.T, None)


def normalisation(call: Call, builder: Builder) -> Value:
    """BatchNormalization with its recorded statistics."""
    value = call.batched()
    if len(value.shape) != 4:
        raise call.refusal(f"it normalises {list(value.shape)}; [batch, channels, h, w] is supported")
    gain, offset, mean, variance = (_tensor(call.weights(i)) for i in range(1, 5))
    module = nn.BatchNorm2d(len(gain), eps=float(call.attributes.get("epsilon", 1e-5)))
    module.load_state_dict(
        {"weight": gain, "bias": offset, "running_mean": mean, "running_var": variance}
        | {"num_batches_tracked": torch.tensor(0)}
    )
    return builder.module(call, module, value)


def parametric_relu(call: Call, builder: Builder) -> Value:
    """PRelu with one slope, or one for each channel."""
    slope = call.weights(1)
    value = call.batched()
    if slope.size not in (1, value.shape[1]) or (slope.size > 1 and slope.shape[-len(value.shape[2:]) - 1] == 1):
        raise call.refusal(f"its slopes are {list(slope.shape)}; one, or one for each channel, is supported")
    module = nn.PReLU(slope.size)
    module.load_state_dict({"weight": _tensor(slope.reshape(-1))})
    return builder.module(call, module, value)


def max_pool(call: Call, builder: Builder) -> Value:
    """MaxPool over height and width."""
    if call.outputs > 1:
        raise call.refusal("its indices are wanted; only the maxima are supported")
    kernel, strides, dilations = _pair(call, "kernel_shape"), _pair(call, "strides"), _pair(call, "dilations")
    value, padding = _padded(call, builder, kernel, strides, dilations, _LOWEST)
    ceil = bool(call.attributes.get("ceil_mode", 0))
    return builder.module(call, nn.MaxPool2d(kernel, strides, padding, dilations, ceil_mode=ceil), value)


def average_pool(call: Call, builder: Builder) -> Value:
    """AveragePool over height and width."""
    kernel, strides = _pair(call, "kernel_shape"), _pair(call, "strides")
    if _pair(call, "dilations") != (1, 1):
        raise call.refusal("dilated averaging is not supported")
    counted = bool(call.attributes.get("count_include_pad", 0))
    value, padding = _padded(call, builder, kernel, strides, (1, 1), 0.0)
    if value is not call.value() and not counted:
        raise call.refusal("padding that differs between sides must be counted (count_include_pad)")
    ceil = bool(call.attributes.get("ceil_mode", 0))
    return builder.module(call, nn.AvgPool2d(kernel, strides, padding, ceil, counted), value)


def global_average_pool(call: Call, builder: Builder) -> Value:
    """GlobalAveragePool."""
    return builder.module(call, nn.AdaptiveAvgPool2d(1), call.batched())


def global_max_pool(call: Call, builder: Builder) -> Value:
    """GlobalMaxPool."""
    return builder.module(call, nn.AdaptiveMaxPool2d(1), call.batched())


def _linear(call: Call, builder: Builder, weight: Constant, bias: Constant | None) -> Value:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": _tensor(weight)} | ({} if bias is None else {"bias": _tensor(bias)})
    module.load_state_dict(state)
    return builder.module(call, module, call.batched())


def _filled(call: Call, module: nn.Module, weight: Constant) -> nn.Module:
    bias = {"bias": _tensor(call.weights(2))} if _has_bias(call) else {}
    module.load_state_dict({"weight": _tensor(weight), **bias})
    return module


def _has_bias(call: Call) -> bool:
    return len(call.inputs) > 2 and call.inputs[2] is not None


def _tensor(array: Constant) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _check_plane(call: Call, weight: Constant) -> None:
    if weight.ndim != 4:
        raise call.refusal(f"its weights are {list(weight.shape)}; convolutions over height and width are supported")


def _pair(call: Call, attribute: str) -> tuple[int, int]:
    given = call.attributes.get(attribute, (1, 1))
    if len(given) != 2:
        raise call.refusal(f"{attribute} {given}; two numbers, for height and width, are supported")
    return given[0], given[1]


def _padded(
    call: Call, builder: Builder, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], fill: float
) -> tuple[Value, tuple[int, int]]:
    """The input, and the padding that is left to the layer itself: none where opposite sides differ."""
    value = call.batched()
    top, left, bottom, right = _pads(call, value, kernel, strides, dilations)
    # Pooling pads by half a window at most.
    if (top, left) == (bottom, right) and (fill == 0.0 or (2 * top <= kernel[0] and 2 * left <= kernel[1])):
        return value, (top, left)
    return builder.function(functional.pad, value, (left, right, top, bottom), value=fill), (0, 0)


def _pads(
    call: Call, value: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right; `auto_pad` is worked out for the size of the image."""
    automatic: Any = call.attributes.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        top, left, bottom, right = call.attributes.get("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    if automatic == "VALID":
        return 0, 0, 0, 0
    before, after = [], []
    for size, window, stride, dilation in zip(value.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        before.append(less if automatic == "SAME_UPPER" else more)
        after.append(more if automatic == "SAME_UPPER" else less)
    return before[0], before[1], after[0], after[1]
