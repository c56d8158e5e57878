"""Skip: residual units inside a block are replaced by their shortcuts, `skip:N`.

A residual network computes x + f(x), and single units may go without much harm (Veit et al. 2016, section 4.1): the
widest range of latency that such a network offers. Which ones is measured: one after the other, always the unit whose
removal changes the block's output least.
"""

from __future__ import annotations

import copy
import operator
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx, nn

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Material, Reshaped, Reshaping
from blockstore.build.kinds.graphs import Sizes, sizes_of

_ADDITIONS: Final = (operator.add, operator.iadd, torch.add, "add")
_RELUS: Final = (torch.relu, nn.functional.relu, "relu")


def parse(arguments: Sequence[str]) -> Reshaping:
    """The kind of `N`; raises `CannotBuild`."""
    given.check_count(arguments, 1, 1, "skip:N")
    return Skip(given.count(arguments[0], "the number of residual units that go"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A residual unit of a graph, by the names of its nodes: `addition` = `shortcut` + branch."""

    addition: str
    shortcut: str
    title: str
    """The layers of the branch as the network calls them: `layer1.2`."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Removes `count` residual units."""

    count: int

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        """`module` without the units that its output depends on least; maybe nothing but shortcuts is left."""
        available = len(residual_units(module, block.input))
        if available < self.count:
            raise Declined(
                f"{self.count} residual units are to go and the block has {available}: skip fewer or cut larger blocks"
            )
        left, error = module, 0.0
        titles: list[str] = []
        for _ in range(self.count):
            units = residual_units(left, block.input)
            if not units:
                raise Declined(f"{self.count} residual units are to go; after {', '.join(titles)} no other is left")
            shorter = [_without(left, unit) for unit in units]
            errors = _errors(shorter, material)
            error = min(errors)
            best = errors.index(error)
            left = shorter[best]
            titles.append(units[best].title)
        return Reshaped(
            copy.deepcopy(left).requires_grad_(False),
            {"units_before": available, "units_removed": ", ".join(titles), "error_before_retraining": error},
        )


def residual_units(module: fx.GraphModule, spec: TensorSpec) -> tuple[Unit, ...]:
    """The residual units of `module`, which takes `spec`, in the order of the graph.

    An addition is one where both operands are computed of one and the same tensor, one of them, the shortcut, by at
    most one layer with weights (a projection) and by fewer multiply-adds than the other.
    """
    sizes = sizes_of(module, spec)
    layers = dict(module.named_modules())
    dominators = _dominators(module.graph)
    units = [
        _unit(node, sizes, layers, dominators)
        for node in module.graph.nodes
        if node.target in _ADDITIONS and len(node.all_input_nodes) == 2
    ]
    return tuple(unit for unit in units if unit is not None)


def _unit(
    addition: fx.Node, sizes: Sizes, layers: dict[str, nn.Module], dominators: Mapping[fx.Node, list[fx.Node]]
) -> Unit | None:
    operands = addition.all_input_nodes
    common = [node for node in dominators[operands[0]] if node in dominators[operands[1]]]
    branches = [_branch(operand, common[-1]) for operand in operands]
    costs = [sum(sizes.multiply_adds(node, layers) for node in branch) for branch in branches]
    kept = 0 if costs[0] <= costs[1] else 1
    if costs[kept] == costs[1 - kept] or len(_weighted(branches[kept], layers)) > 1:
        return None
    if sizes.shapes.get(operands[kept].name) != sizes.shapes.get(addition.name):
        return None
    return Unit(addition.name, operands[kept].name, _title(_weighted(branches[1 - kept], layers)))


def _dominators(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each node those that every path from the graph's input to it passes, in the order of the graph."""
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        above = [found[source] for source in node.all_input_nodes]
        shared = [one for one in above[0] if all(one in other for other in above[1:])] if above else []
        found[node] = [*shared, node]
    return found


def _branch(operand: fx.Node, start: fx.Node) -> list[fx.Node]:
    """The nodes between `start` and `operand`, which is one of them unless it is `start` itself."""
    branch: list[fx.Node] = []
    waiting = [operand]
    while waiting:
        node = waiting.pop()
        if node is not start and node not in branch:
            branch.append(node)
            waiting.extend(node.all_input_nodes)
    return branch


def _weighted(branch: Sequence[fx.Node], layers: dict[str, nn.Module]) -> list[str]:
    """Names of its layers with weights."""
    called = [str(node.target) for node in branch if node.op == "call_module"]
    return [name for name in called if isinstance(layers[name], nn.Conv2d | nn.Linear)]


def _title(names: Sequence[str]) -> str:
    """What the names of a unit's layers begin with in common; all of them where that is nothing."""
    paths = [name.removeprefix("network.").replace(".", "/") for name in sorted(names)]
    common = os.path.commonpath(paths) if len(paths) > 1 else paths[0]
    return (common or "+".join(paths)).replace("/", ".")


def _without(module: fx.GraphModule, unit: Unit) -> fx.GraphModule:
    """`module` with `unit` replaced by its shortcut; the layers are those of `module`."""
    shorter = fx.GraphModule(module, copy.deepcopy(module.graph), class_name="Block")
    nodes = {node.name: node for node in shorter.graph.nodes}
    shortcut = nodes[unit.shortcut]
    for user in list(nodes[unit.addition].users):
        # What comes out of a ReLU stays what it is in a second one.
        if _is_relu(user, shorter) and _is_relu(shortcut, shorter):
            user.replace_all_uses_with(shortcut)
    nodes[unit.addition].replace_all_uses_with(shortcut)
    shorter.graph.eliminate_dead_code()
    shorter.delete_all_unused_submodules()
    shorter.recompile()
    return shorter


def _is_relu(node: fx.Node, module: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), nn.ReLU)
    return node.target in _RELUS


def _errors(modules: Sequence[fx.GraphModule], material: Material) -> list[float]:
    """Mean squared error of each to the original block's output, as a share of the variance of that output."""
    squares = [0.0] * len(modules)
    total, total_squares, count = 0.0, 0.0, 0
    with torch.no_grad():
        for inputs, target in material.batches():
            for position, module in enumerate(modules):
                squares[position] += _sum_of_squares(module(inputs) - target)
            total += float(target.double().sum())
            total_squares += _sum_of_squares(target)
            count += target.numel()
    deviation = total_squares - total * total / count
    return [value / max(deviation, 1e-30) for value in squares]


def _sum_of_squares(values: Tensor) -> float:
    return float(values.double().square().sum())
