"""Sizes that a network reads off its tensors: only tensors may cross a cut, so a size is read where it is used.

Height and width are the same for every frame and become numbers. The batch (`b = x.size(0)` at the top, `y.view(b, -1)`
at the end) is read from the tensor that it is used on. Channels stay as they are, so that pruning may change them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

BATCHES: Final = (2, 3)
"""What differs between these depends on the batch."""

Recorded = Mapping[fx.Node, Any]
"""What every node of a graph gives: numbers, and tensors of the right dtype and shape without content."""


def localise(module: fx.GraphModule, frames: Tensor) -> fx.GraphModule:
    """`module` with sizes read where they are used; `frames` is `[1, ...]` of what it takes."""
    _without_shape_attributes(module.graph)
    module.recompile()
    small, large = record(module, frames)
    for node in list(module.graph.nodes):
        if isinstance(small[node], Tensor) or not _is_number(small[node]):
            continue
        if small[node] == large[node] and (_is_spatial(node, small) or not node.all_input_nodes):
            _replace(node, small[node])
        elif (small[node], large[node]) == BATCHES:
            _read_where_used(node, small, large)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def record(module: fx.GraphModule, frames: Tensor) -> tuple[Recorded, Recorded]:
    """What the nodes of `module` give for two and for three frames; `frames` is `[1, ...]` of what it takes."""
    return _record(module, frames, BATCHES[0]), _record(module, frames, BATCHES[1])


def is_per_frame(small: Any, large: Any) -> bool:
    """Whether these two recordings of a node are tensors with one row for each frame."""
    return _has_batch(small, BATCHES[0]) and _has_batch(large, BATCHES[1]) and small.shape[1:] == large.shape[1:]


def _record(module: fx.GraphModule, frames: Tensor, batch: int) -> Recorded:
    # The values stay in the interpreter's environment when it collects no garbage.
    interpreter = fx.Interpreter(module, garbage_collect_values=False)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        interpreter.run(frames.expand(batch, *frames.shape[1:]))
    return interpreter.env


def _without_shape_attributes(graph: fx.Graph) -> None:
    """`x.shape` as `x.size()`: reading an attribute by its name is nothing that a file may ask for."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target is getattr and node.args[1] == "shape":
            node.op, node.target, node.args = "call_method", "size", (node.args[0],)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, tuple) and all(isinstance(item, int) for item in value))


def _is_spatial(node: fx.Node, values: Recorded) -> bool:
    """Whether `node` reads heights and widths alone: `x.size(2)`, `x.size()[-1]`, `x.size()[2:]`."""
    reads = node.target == "size" or (
        node.target is operator.getitem and isinstance(values[node.all_input_nodes[0]], torch.Size)
    )
    if not reads or len(node.args) != 2:
        return False
    source, index = values[node.all_input_nodes[0]], node.args[1]
    axes = range(len(source if isinstance(source, torch.Size) else source.shape))
    chosen = list(axes[index]) if isinstance(index, slice) else [axes[index]] if isinstance(index, int) else []
    return bool(chosen) and min(chosen) >= 2


def _replace(node: fx.Node, value: Any) -> None:
    """Give every user of `node` the plain `value` instead."""
    for user in list(node.users):
        _substitute(user, node, tuple(value) if isinstance(value, tuple) else value)


def _read_where_used(node: fx.Node, small: Recorded, large: Recorded) -> None:
    """Let every user that works on a tensor of the same batch read it there."""
    for user in list(node.users):
        tensor = user.args[0] if user.args else None
        if not isinstance(tensor, fx.Node):
            continue
        if _has_batch(small[tensor], BATCHES[0]) and _has_batch(large[tensor], BATCHES[1]):
            with node.graph.inserting_before(user):
                _substitute(user, node, node.graph.call_method("size", (tensor, 0)))


def _substitute(user: fx.Node, old: fx.Node, new: Any) -> None:
    def swap(node: fx.Node) -> Any:
        return new if node is old else node

    user.args, user.kwargs = fx.map_arg(user.args, swap), fx.map_arg(user.kwargs, swap)


def _has_batch(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch
