"""Skip: residual units inside a block are replaced by their shortcuts, `skip:N`.

A residual network computes x + f(x), and single units may go without much harm (Veit et al. 2016, section 4.1): the
widest range of latency that such a network offers. A ShuffleNet has the like: one half of the channels passes by, and
f(other half) stands beside it (Ma et al. 2018, section 3.2). Which units go is measured: one after the other, always
the one whose removal changes the block's output least.
"""

from __future__ import annotations

import copy
import operator
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
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
    """A residual unit of a graph, by the names of its nodes."""

    end: str
    """`shortcut` + branch; of a half that is worked on, the branch itself."""
    shortcut: str
    """What stands in place of `end` when the unit goes."""
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
            {"units_before": available, "units_removed": ", ".join(titles), "removal_error": float(f"{error:.4g}")},
        )


def residual_units(module: fx.GraphModule, spec: TensorSpec) -> tuple[Unit, ...]:
    """The residual units of `module`, which takes `spec`, in the order of the graph.

    An addition is one where both operands are computed of one and the same tensor, one of them, the shortcut, by at
    most one layer with weights (a projection) and by fewer multiply-adds than the other. A concatenation is one where
    one operand is a part of a tensor, and the other is computed by layers of another part and has its shape.
    """
    sizes = sizes_of(module, spec)
    layers = dict(module.named_modules())
    dominators = _dominators(module.graph)
    units = [
        (_beside if node.target is torch.cat else _added)(node, sizes, layers, dominators)
        for node in module.graph.nodes
        if node.target in (*_ADDITIONS, torch.cat) and len(node.all_input_nodes) == 2
    ]
    return tuple(unit for unit in units if unit is not None)


def _added(
    addition: fx.Node, sizes: Sizes, layers: dict[str, nn.Module], dominators: Mapping[fx.Node, list[fx.Node]]
) -> Unit | None:
    operands = addition.all_input_nodes
    if not all(operand in dominators for operand in operands):
        return None
    common = [node for node in dominators[operands[0]] if node in dominators[operands[1]]]
    branches = [_branch(operand, common[-1]) for operand in operands]
    costs = [sum(sizes.multiply_adds(node, layers) for node in branch) for branch in branches]
    kept = 0 if costs[0] <= costs[1] else 1
    if costs[kept] == costs[1 - kept] or len(_weighted(branches[kept], layers)) > 1:
        return None
    if sizes.shapes.get(operands[kept].name) != sizes.shapes.get(addition.name):
        return None
    return Unit(addition.name, operands[kept].name, _title(_weighted(branches[1 - kept], layers)))


def _beside(
    joined: fx.Node, sizes: Sizes, layers: dict[str, nn.Module], dominators: Mapping[fx.Node, list[fx.Node]]
) -> Unit | None:
    for passing, end in permutations(joined.all_input_nodes):
        parts = [node for node in dominators.get(end, ()) if _are_parts(node, passing)]
        if not parts or sizes.shapes.get(parts[-1].name) != sizes.shapes.get(end.name):
            continue
        layers_of_branch = _weighted(_branch(end, parts[-1]), layers)
        if layers_of_branch:
            return Unit(end.name, parts[-1].name, _title(layers_of_branch))
    return None


def _are_parts(one: fx.Node, other: fx.Node) -> bool:
    """Whether they are two parts of one tensor, or of what one was split into."""
    both_parts = one.target is other.target is operator.getitem
    return both_parts and one is not other and one.args[0] is other.args[0]


def _dominators(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each node those that every path from the graph's input to it passes, in the order of the graph.

    What is computed of constants alone (a position, a scale for each channel) is on no such path, and absent.
    """
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        above = [found[source] for source in node.all_input_nodes if source in found]
        if above:
            found[node] = [*(one for one in above[0] if all(one in other for other in above[1:])), node]
        elif node.op == "placeholder":
            found[node] = [node]
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
    """`module` with `unit` replaced by its shortcut; layers and constants are those of `module`, as far as needed."""
    graph = copy.deepcopy(module.graph)
    nodes = {node.name: node for node in graph.nodes}
    shortcut = nodes[unit.shortcut]
    for user in list(nodes[unit.end].users):
        # What comes out of a ReLU stays what it is in a second one.
        if _is_relu(user, module) and _is_relu(shortcut, module):
            user.replace_all_uses_with(shortcut)
    nodes[unit.end].replace_all_uses_with(shortcut)
    shorter = fx.GraphModule(module, graph)
    shorter.graph.eliminate_dead_code()
    # Once more: it takes what its graph names, and nothing that only the unit needed.
    return fx.GraphModule(shorter, shorter.graph, class_name="Block")


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
