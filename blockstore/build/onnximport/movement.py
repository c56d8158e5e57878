"""Operators that only move elements: reshape, transpose, gather, slice, split, squeeze.

Two things are done for all of them. The batch keeps a place of its own: where a file says 1, or a product with it, the
graph says -1. And a run of movement that amounts to choosing channels becomes one slice: the channel shuffle of
ShuffleNet (reshape, transpose, reshape, gather) is `x[:, 0::2]` and `x[:, 1::2]`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from blockstore.build.onnximport.builder import Builder, Call, Source, Value

Index = tuple[slice | int | list[int], ...]


def reshape(call: Call, builder: Builder) -> Value:
    """Reshape: 0 keeps a size (unless `allowzero`), one -1 is worked out."""
    value, given = call.value(), call.setting("shape", 1)
    if not call.attributes.get("allowzero", 0):
        given = [value.shape[i] if size == 0 else size for i, size in enumerate(given)]
    known = math.prod(size for size in given if size != -1)
    return _to_shape(call, builder, [value.sample.numel() // known if size == -1 else size for size in given])


def flatten(call: Call, builder: Builder) -> Value:
    """Flatten to two dimensions, parted before `axis`."""
    shape = call.value().shape
    axis = call.attributes.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return _to_shape(call, builder, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def squeeze(call: Call, builder: Builder) -> Value:
    """Squeeze the given axes, or all of size 1 except the batch."""
    value = call.value()
    rank = len(value.shape)
    given = call.setting("axes", 1)
    gone = (
        [call.axis(a, rank) for a in given]
        if given is not None
        else [a for a, size in enumerate(value.shape) if size == 1 and a != value.batch_axis]
    )
    return _to_shape(call, builder, [size for a, size in enumerate(value.shape) if a not in gone])


def unsqueeze(call: Call, builder: Builder) -> Value:
    """Unsqueeze: `axes` count in the result."""
    shape = list(call.value().shape)
    axes = call.setting("axes", 1)
    rank = len(shape) + len(axes)
    for axis in sorted(call.axis(a, rank) for a in axes):
        shape.insert(axis, 1)
    return _to_shape(call, builder, shape)


def transpose(call: Call, builder: Builder) -> Value:
    """Transpose; without `perm` the axes are reversed."""
    value = call.value()
    order = tuple(call.attributes.get("perm", range(len(value.shape))[::-1]))
    return _moved(builder, value, order.index(value.batch_axis), torch.permute, order)


def gather(call: Call, builder: Builder) -> Value:
    """Gather with a constant index along any axis but the batch."""
    value = call.value()
    rank = len(value.shape)
    axis = call.axis(call.attributes.get("axis", 0), rank)
    indices = call.weights(1)
    if indices.ndim > 1:
        raise call.refusal(f"its index has {indices.ndim} dimensions; a number or a list is supported")
    size = value.shape[axis]
    chosen = [int(i) % size for i in indices.reshape(-1)]
    index: int | list[int] = chosen if indices.ndim else chosen[0]
    return _indexed(call, builder, value, axis, index)


def slices(call: Call, builder: Builder) -> Value:
    """Slice with constant bounds and positive steps."""
    value = call.value()
    rank = len(value.shape)
    starts, ends = call.setting("starts", 1), call.setting("ends", 2)
    axes = call.setting("axes", 3, list(range(len(starts))))
    steps = call.setting("steps", 4, [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise call.refusal(f"step {step}; only steps from 1 are supported")
        place = call.axis(axis, rank)
        size = value.shape[place]
        bounds = slice(start, end, step).indices(size)
        value = _indexed(call, builder, value, place, _slice(*bounds, size))
    return value


def split(call: Call, builder: Builder) -> tuple[Value, ...]:
    """Split into the given sizes, or into equal parts."""
    value = call.value()
    axis = call.axis(call.attributes.get("axis", 0), len(value.shape))
    size = value.shape[axis]
    part = math.ceil(size / call.outputs)
    sizes = call.setting("split", 1, [min(part, size - i * part) for i in range(call.outputs)])
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(
        _indexed(call, builder, value, axis, _slice(end - length, end, 1, size))
        for end, length in zip(ends, sizes, strict=True)
    )


def _to_shape(call: Call, builder: Builder, shape: Sequence[int]) -> Value:
    """`value` in another shape (of one frame), with -1 where the batch is."""
    value = call.value()
    if tuple(shape) == value.shape:
        return value
    before = math.prod(value.shape[: value.batch_axis])
    axis = next((a for a in range(len(shape)) if math.prod(shape[:a]) == before), None)
    if axis is None:
        raise call.refusal(f"{list(value.shape)} as {list(shape)} mixes the elements of different frames")
    if axis == 0 and value.batch_axis == 0 and len(shape) == 2 and shape[0] == value.shape[0] == 1:
        # Says no number of channels, so that pruning may change it.
        return _moved(builder, value, 0, torch.flatten, 1)
    return _moved(builder, value, axis, torch.reshape, (*shape[:axis], -1, *shape[axis + 1 :]))


def _indexed(call: Call, builder: Builder, value: Value, axis: int, index: slice | int | list[int]) -> Value:
    if index == slice(None):
        return value
    if axis == value.batch_axis:
        raise call.refusal("it chooses among the frames of a batch")
    batch_axis = value.batch_axis - (isinstance(index, int) and axis < value.batch_axis)
    return _moved(builder, value, batch_axis, operator.getitem, (*[slice(None)] * axis, index))


def _slice(start: int, stop: int, step: int, size: int) -> slice:
    """Without the bounds that are the tensor's own."""
    return slice(start or None, None if stop >= size else stop, None if step == 1 else step)


def _moved(builder: Builder, value: Value, batch_axis: int, function: Callable[..., Any], argument: Any) -> Value:
    """`function(value, argument)`, or one slice of the tensor that the movement began with where that is the same."""
    source = value.source or Source(value, torch.arange(value.sample.numel()).reshape(value.shape))
    positions = function(source.positions, argument)
    index = _channels(source.value, positions) if batch_axis == source.value.batch_axis == 0 else None
    if index is None or value.source is None:
        plain = builder.function(function, value, argument, batch_axis=batch_axis)
        return Value(plain.node, plain.sample, batch_axis, Source(source.value, positions))
    if index == slice(None):
        return source.value
    chosen = builder.function(operator.getitem, source.value, (slice(None), index))
    return Value(chosen.node, chosen.sample, 0, Source(source.value, positions))


def _channels(value: Value, positions: Tensor) -> slice | None:
    """The channels of `value` that make up `positions`, where these are whole channels at an even distance."""
    shape = value.shape
    if positions.dim() < 3 or tuple(positions.shape[2:]) != shape[2:] or positions.shape[0] != shape[0] != 1:
        return None
    area = math.prod(shape[2:])
    channels = positions[0].reshape(len(positions[0]), area)[:, 0] // area
    whole = channels[:, None] * area + torch.arange(area)
    if not torch.equal(whole, positions.reshape(len(channels), area)):
        return None
    start, step = int(channels[0]), int(channels[1] - channels[0]) if len(channels) > 1 else 1
    if step < 1 or not torch.equal(channels, start + step * torch.arange(len(channels))):
        return None
    return _slice(start, int(channels[-1]) + step, step, shape[1])
