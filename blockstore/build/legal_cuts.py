"""Legal cuts: after which operators of a network exactly one tensor is alive, and what each place is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import fx, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.trace import Traced, spec_of
from blockstore.zoo.preprocess import Preprocess

# Engines compute these together with the operator before them: a cut in between would cost a pass over the tensor.
_FUSED_MODULES: Final = (
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
)
_FUSED_FUNCTIONS: Final = (
    functional.elu,
    functional.gelu,
    functional.hardsigmoid,
    functional.hardswish,
    functional.hardtanh,
    functional.leaky_relu,
    functional.mish,
    functional.relu,
    functional.relu6,
    functional.silu,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
)
_FUSED_METHODS: Final = ("relu", "sigmoid", "tanh")


@dataclass(frozen=True, slots=True)
class LegalCut:
    """A place where the network may be divided."""

    name: str
    """Of the operator just before: a layer as the network calls it, `layer1.0.conv2`, or `layer1.0.relu`."""
    position: int
    """Of that operator, from 0."""
    tensor: TensorSpec
    """What crosses."""


def operators_of(graph: fx.Graph) -> list[fx.Node]:
    """The nodes between input and output, in order."""
    return [n for n in graph.nodes if n.op not in ("placeholder", "output")]


def legal_cuts(traced: Traced) -> tuple[LegalCut, ...]:
    """Every place, in order, where one tensor with a row for each frame crosses and the next operator does not fuse."""
    nodes = operators_of(traced.module.graph)
    modules = dict(traced.module.named_modules())
    names = _names(nodes)
    return tuple(
        LegalCut(names[position], position, spec)
        for position in lone_places(traced.module.graph, nodes)
        if (spec := spec_of(nodes[position])) is not None
        and not _is_preprocess(nodes[position], modules)
        and not _fuses(nodes[position + 1], modules)
    )


def places(traced: Traced) -> Mapping[str, int]:
    """The position that each name stands for: of an operator its own, of a part of the network that of its last."""
    nodes = operators_of(traced.module.graph)
    names = _names(nodes)
    parts = {
        ".".join(path[:depth]): position
        for position, name in enumerate(names)
        for path in [name.split(".")]
        for depth in range(1, len(path))
    }
    return {**parts, **{name: position for position, name in enumerate(names)}}


def obstacle_of(graph: fx.Graph) -> str:
    """Which operator keeps the most places from being legal: the one that needs a value from farthest back."""
    index = {node: i for i, node in enumerate(graph.nodes)}
    spans = [(index[u] - index[n], u, n) for n in operators_of(graph) for u in n.users if u.op != "output"]
    length, user, value = max(spans, key=lambda s: s[0], default=(0, None, None))
    if user is None or value is None or length <= 1:
        return "it has no more operators"
    target = getattr(user.target, "__name__", user.target)
    return f"operator {user.name} ({target}) needs {value.name} from {length} operators before"


def name_of(node: fx.Node) -> str:
    """What the network calls a layer; of a function, where it was called and which it is."""
    if "label" in node.meta:
        return str(node.meta["label"])
    if node.op in ("call_module", "get_attr"):
        return str(node.target).removeprefix("network.")
    stack = list(node.meta.get("nn_module_stack", ()))
    path = stack[-1].removeprefix("network").removeprefix(".") if stack else ""
    function = str(getattr(node.target, "__name__", node.target))
    return f"{path}.{function}" if path else function


def lone_places(graph: fx.Graph, nodes: Sequence[fx.Node]) -> list[int]:
    """Positions after which the tensor just made is all that a later operator, or the output, still needs."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    last_use = {node: max(map(order.__getitem__, node.users), default=-1) for node in graph.nodes}
    lone, farthest = [], max(last_use[n] for n in graph.nodes if n.op == "placeholder")
    for position, node in enumerate(nodes[:-1]):
        # What was made before is not needed any more.
        if farthest <= order[node]:
            lone.append(position)
        farthest = max(farthest, last_use[node])
    return lone


def _names(nodes: Sequence[fx.Node]) -> list[str]:
    """A name for each node, no two the same."""
    names: list[str] = []
    taken: set[str] = set()
    for node in nodes:
        base = name = name_of(node)
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
        taken.add(name)
    return names


def _is_preprocess(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], Preprocess)


def _fuses(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _FUSED_MODULES)
    return node.target in (_FUSED_FUNCTIONS if node.op == "call_function" else _FUSED_METHODS)
