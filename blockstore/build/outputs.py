"""The outputs of a network as one tensor, as a block has one: a detector's leave together from the last block."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from blockstore.block import MAX_OUTPUTS, TensorSpec
from blockstore.build.sizes import BATCHES, is_per_frame, record
from blockstore.errors import CannotCut


def pack(module: fx.GraphModule, frames: Tensor) -> tuple[TensorSpec, ...]:
    """Let `module` give one tensor: its only output as it is, several flattened and joined, `[batch, total]`.

    Tuples, lists and dictionaries of outputs are opened, in order. `frames` is `[1, ...]` of what the module takes.
    Returns what the outputs were. Raises `CannotCut` for an output that does not have one row for each frame, and for
    several of different types.
    """
    small, large = record(module, frames)
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    leaves: list[fx.Node] = []
    fx.map_arg(output.args[0], leaves.append)
    with module.graph.inserting_before(output):
        opened = [part for leaf in leaves for part in _opened(leaf, small[leaf], large[leaf])]
        specs = tuple(_spec(*part) for part in opened)
        output.args = (_joined([node for node, _, _ in opened], specs),)
    module.recompile()
    return specs


def _opened(node: fx.Node, small: Any, large: Any) -> Iterator[tuple[fx.Node, Any, Any]]:
    """`node`, or the parts of what it gives, each with its values for few and for more frames."""
    if not isinstance(small, tuple | list):
        yield node, small, large
        return
    for index, values in enumerate(zip(small, large, strict=True)):
        part = node.graph.call_function(operator.getitem, (node, index))
        yield from _opened(part, *values)


def _spec(node: fx.Node, small: Any, large: Any) -> TensorSpec:
    if not isinstance(small, Tensor):
        raise CannotCut(f"the network returns {node.name}, which is a {type(small).__name__} and not a tensor")
    if not is_per_frame(small, large):
        raise CannotCut(
            f"output {node.name} is {list(small.shape)} for {BATCHES[0]} frames: it does not have one row for each "
            "frame; return tensors [batch, ...]"
        )
    return TensorSpec(str(small.dtype).removeprefix("torch."), tuple(small.shape[1:]))


def _joined(nodes: list[fx.Node], specs: tuple[TensorSpec, ...]) -> fx.Node:
    if not nodes:
        raise CannotCut("the network returns no tensor")
    if len(nodes) == 1:
        return nodes[0]
    if len(nodes) > MAX_OUTPUTS:
        raise CannotCut(f"the network returns {len(nodes)} tensors; the limit is {MAX_OUTPUTS}: join some of them")
    if len({spec.dtype for spec in specs}) > 1:
        raise CannotCut(f"the outputs are of different types ({', '.join(map(str, specs))}); return all as float32")
    graph = nodes[0].graph
    rows = [_row(graph, node, spec) for node, spec in zip(nodes, specs, strict=True)]
    return graph.call_function(torch.cat, (rows, 1))


def _row(graph: fx.Graph, node: fx.Node, spec: TensorSpec) -> fx.Node:
    if not spec.shape:
        return graph.call_function(torch.unsqueeze, (node, 1))
    return node if len(spec.shape) == 1 else graph.call_function(torch.flatten, (node, 1))
