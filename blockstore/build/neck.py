"""The neck of a block that ends in a vector: the last tensor with height and width, before pooling takes them away.

Ten logits a frame teach little. Variants of the last block of ResNet-20 that learnt at the neck, 64 x 8 x 8 values a
frame, had 78% (one unit skipped) and 77% (half of the inner filters) on CIFAR-10, where those that learnt the logits of
the same 5000 images had 60% and 64%, and those that learnt both 70% and 73%. What follows the neck stays as it is.
"""

from __future__ import annotations

import copy
from operator import attrgetter

import torch
from torch import Tensor, fx

from blockstore.block import TensorSpec
from blockstore.build.kinds.graphs import sizes_of
from blockstore.build.legal_cuts import lone_places, operators_of
from blockstore.build.trace import example


def up_to_neck(module: fx.GraphModule, spec: TensorSpec) -> fx.GraphModule | None:
    """`module`, which takes `spec`, up to its neck, with the same layers; None where it does not end in a vector."""
    found = neck_of(module, spec)
    if found is None:
        return None
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node is found:
            break
    graph.output(copies[found])
    return fx.GraphModule(module, graph, class_name="UpToNeck")


def where_to_learn(module: fx.GraphModule, original: fx.GraphModule, spec: TensorSpec) -> fx.GraphModule | None:
    """`module` up to its neck where it is to learn there: where neck and rest are like those of `original`.

    None too where nothing in front of the neck can learn: the units there were all skipped.
    """
    ours, theirs = up_to_neck(module, spec), up_to_neck(original, spec)
    if ours is None or theirs is None or not any(True for _ in ours.parameters()):
        return None
    with torch.no_grad():
        frame = example(spec)
        if ours(frame).shape != theirs(frame).shape:
            return None
    rest, original_rest = _rest(module, ours), _rest(original, theirs)
    same = len(rest) == len(original_rest) and all(map(torch.equal, rest, original_rest))
    return ours if same else None


def with_front(module: fx.GraphModule, front: fx.GraphModule) -> fx.GraphModule:
    """A copy of `module` whose layers up to the neck are those of `front`, which began as `up_to_neck` of it."""
    copied = copy.deepcopy(module)
    named = [node.target for node in copied.graph.nodes if node.op in ("call_module", "get_attr")]
    in_front = {node.target for node in front.graph.nodes}
    parts = {name: attrgetter(name)(front if name in in_front else copied) for name in named}
    return fx.GraphModule(parts, copied.graph, class_name="Block").eval()


def _rest(module: fx.GraphModule, up_to: fx.GraphModule) -> list[Tensor]:
    """The parameters behind the neck."""
    before = {id(p) for p in up_to.parameters()}
    return [p for p in module.parameters() if id(p) not in before]


def neck_of(module: fx.GraphModule, spec: TensorSpec) -> fx.Node | None:
    """The last operator whose tensor has height and width and is all that the rest needs."""
    shapes = sizes_of(module, spec).shapes
    nodes = operators_of(module.graph)
    if not nodes or _is_map(shapes.get(nodes[-1].name, ())):
        return None
    lone = [nodes[position] for position in lone_places(module.graph, nodes)]
    return next((node for node in reversed(lone) if _is_map(shapes.get(node.name, ()))), None)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[1] * shape[2] > 1
