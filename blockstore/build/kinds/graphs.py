"""What the operators of a block cost and the shapes of their tensors, read off its graph."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from blockstore.block import TensorSpec
from blockstore.build.trace import example, spec_of


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the tensors of one graph, without their batch dimension."""

    shapes: dict[str, tuple[int, ...]]
    """By the name of the node; nodes that make no tensor are absent."""

    def multiply_adds(self, node: fx.Node, layers: dict[str, nn.Module]) -> int:
        """Of one operator for one frame; only layers with weights count."""
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Every value of the output is a sum over one filter's weights.
            return math.prod(self.shapes[node.name]) * layer.weight[0].numel()
        return 0


def varying(graph: fx.Graph) -> frozenset[fx.Node]:
    """The nodes that depend on what `graph` takes; the others are constants of the network, or computed of them."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def sizes_of(module: fx.GraphModule, spec: TensorSpec) -> Sizes:
    """The sizes of all tensors of `module` when it takes `spec`; `module` stays as it is."""
    # A shallow copy of the graph: the notes that shape propagation leaves are the copy's.
    noted = fx.GraphModule(module, copy.deepcopy(module.graph))
    with torch.no_grad():
        ShapeProp(noted).propagate(example(spec))
    specs = {node.name: spec_of(node) for node in noted.graph.nodes}
    return Sizes({name: found.shape for name, found in specs.items() if found is not None})
