"""Cut: an fx graph becomes a chain of blocks of about equal measured latency, one tensor in and one tensor out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

import torch
from torch import fx, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.trace import Traced, spec_of
from blockstore.errors import CannotCut
from blockstore.zoo.preprocess import Preprocess

# Engines compute these together with the operator before them: a cut in between would cost a pass over the tensor.
_FUSED_MODULES: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.SiLU, nn.Sigmoid)
_FUSED_FUNCTIONS: Final = (
    functional.relu,
    torch.relu,
    functional.relu6,
    functional.hardswish,
    functional.silu,
    torch.sigmoid,
)


@dataclass(frozen=True, slots=True, eq=False)
class CutBlock:
    """One block of the original network. Its modules are those of the traced network, not copies."""

    index: int
    name: str
    module: fx.GraphModule
    input: TensorSpec
    output: TensorSpec


@dataclass(frozen=True, slots=True)
class Segment:
    """Operators between two neighbouring legal cuts: what blocks are put together from."""

    module: fx.GraphModule
    nodes: tuple[fx.Node, ...]
    source: fx.Node
    """The node whose tensor enters."""


def cut(
    traced: Traced,
    blocks: int,
    latency_ms: Callable[[fx.GraphModule, TensorSpec], float],
    prunable: Callable[[fx.GraphModule, TensorSpec], bool],
) -> tuple[CutBlock, ...]:
    """Divide `traced` into `blocks` blocks.

    First as many blocks as possible contain something `prunable` and no cut goes through a layer's inner width, then
    the slowest block is as quick as possible (`latency_ms` is asked once for every segment). Raises `CannotCut` with
    the operator that prevents it where there are not enough legal cuts.
    """
    segments = segments_of(traced)
    if len(segments) < blocks:
        raise CannotCut(
            f"{blocks} blocks are asked for and the network can be cut into {len(segments)} at most: "
            f"{_obstacle(traced.module.graph)}"
        )
    costs = [latency_ms(s.module, _spec(s.source)) for s in segments]

    def joined_prunable(first: int, last: int) -> bool:
        joined = _join(traced, segments[first:last])
        return prunable(joined, _spec(segments[first].source))

    bounds = partition(costs, blocks, monotone(joined_prunable, len(segments)), wide_bounds(segments))
    return tuple(_block(traced, index, segments[first:last]) for index, (first, last) in enumerate(pairwise(bounds)))


def partition(
    costs: Sequence[float], blocks: int, useful: Callable[[int, int], bool], wide: Set[int] = frozenset()
) -> tuple[int, ...]:
    """Bounds `0 = b0 < b1 < ... < b_blocks = len(costs)` of contiguous runs.

    Minimises, in this order: the number of runs that are not `useful(first, last)` and of bounds that are `wide`,
    the largest sum of costs, the sum of the squares of the sums. Dynamic programming over the number of runs and
    the end of the last one.
    """
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)

    @cache
    def best(runs: int, end: int) -> tuple[int, float, float, tuple[int, ...]]:
        if runs == 0:
            return (0, 0.0, 0.0, (0,)) if end == 0 else (2 * len(costs) + 1, 0.0, 0.0, (0,))
        options = []
        for start in range(runs - 1, end):
            idle, slowest, squares, bounds = best(runs - 1, start)
            run = sums[end] - sums[start]
            idle += (not useful(start, end)) + (end in wide)
            options.append((idle, max(slowest, run), squares + run * run, (*bounds, end)))
        return min(options)

    return best(blocks, len(costs))[3]


def monotone(test: Callable[[int, int], bool], count: int) -> Callable[[int, int], bool]:
    """`test(first, last)` for a property that a longer run inherits from any run inside of it.

    Such a property is decided by the shortest run that has it from each start: `2 * count` tests instead of all pairs.
    """
    shortest: list[int] = []
    end = 0
    for start in range(count):
        end = max(end, start + 1)
        while end <= count and not test(start, end):
            end += 1
        shortest.append(end)
    return lambda first, last: last >= shortest[first]


def wide_bounds(segments: Sequence[Segment]) -> frozenset[int]:
    """Bounds where the tensor is larger than at the bounds before and after.

    Such a tensor is the inner one of a bottleneck turned inside out; to cut there would fix the width that pruning is
    to reduce.
    """
    sizes = [math.prod(_spec(s.nodes[-1]).shape) for s in segments]
    return frozenset(i + 1 for i in range(1, len(sizes) - 1) if sizes[i] > max(sizes[i - 1], sizes[i + 1]))


def segments_of(traced: Traced) -> tuple[Segment, ...]:
    """The network between its legal cuts, in order."""
    nodes = _operators(traced.module.graph)
    source = next(n for n in traced.module.graph.nodes if n.op == "placeholder")
    segments, start = [], 0
    for position in [*_legal_cuts(traced.module, nodes), len(nodes) - 1]:
        run = nodes[start : position + 1]
        segments.append(Segment(_extract(traced.module, source, run), tuple(run), source))
        source, start = run[-1], position + 1
    return tuple(segments)


def _operators(graph: fx.Graph) -> list[fx.Node]:
    return [n for n in graph.nodes if n.op not in ("placeholder", "output")]


def _legal_cuts(module: fx.GraphModule, nodes: Sequence[fx.Node]) -> list[int]:
    """Positions after which exactly the tensor just made is alive and the next operator does not fuse with it."""
    modules = dict(module.named_modules())
    return [
        position
        for position, node in enumerate(nodes[:-1])
        if _crossing(nodes, position) == [node]
        and spec_of(node) is not None
        and not _is_preprocess(node, modules)
        and not _fuses(nodes[position + 1], modules)
    ]


def _crossing(nodes: Sequence[fx.Node], position: int) -> list[fx.Node]:
    """Values made up to `position` (or given as input) that an operator after it still needs."""
    later = set(nodes[position + 1 :])
    source = next(n for n in nodes[0].graph.nodes if n.op == "placeholder")
    return [n for n in [source, *nodes[: position + 1]] if any(u in later or u.op == "output" for u in n.users)]


def _is_preprocess(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], Preprocess)


def _fuses(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _FUSED_MODULES)
    return node.target in _FUSED_FUNCTIONS or node.target == "relu"


def _obstacle(graph: fx.Graph) -> str:
    """The operator that needs a value from farthest back, and so keeps the most positions from being legal."""
    nodes = _operators(graph)
    index = {node: i for i, node in enumerate(graph.nodes)}
    spans = [(index[u] - index[n], u, n) for n in nodes for u in n.users if u.op != "output"]
    if not spans or max(spans, key=lambda s: s[0])[0] <= 1:
        return "it has no more operators"
    length, user, value = max(spans, key=lambda s: s[0])
    return f"operator {user.name} ({_title(user)}) needs {value.name} from {length} operators before"


def _title(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _join(traced: Traced, segments: Sequence[Segment]) -> fx.GraphModule:
    return _extract(traced.module, segments[0].source, [n for s in segments for n in s.nodes])


def _extract(module: fx.GraphModule, source: fx.Node, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """`nodes` as a module of one input (the tensor of `source`) and one output (that of the last node)."""
    graph = fx.Graph()
    copies = {source: graph.placeholder("input")}
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(copies[nodes[-1]])
    graph.lint()
    return fx.GraphModule(module, graph, class_name="Block")


def _block(traced: Traced, index: int, segments: Sequence[Segment]) -> CutBlock:
    nodes = [n for s in segments for n in s.nodes]
    return CutBlock(index, _name(nodes), _join(traced, segments), _spec(segments[0].source), _spec(nodes[-1]))


def _spec(node: fx.Node) -> TensorSpec:
    spec = spec_of(node)
    if spec is None:
        raise CannotCut(f"operator {node.name} does not make a tensor")
    return spec


def _name(nodes: Sequence[fx.Node]) -> str:
    """First and last layer with weights, as the network calls them: `layer1.0.conv1..layer1.2.conv2`."""
    layers = [str(n.target).removeprefix("network.") for n in nodes if n.op == "call_module"]
    named = [layer for layer in layers if layer != "preprocess"]
    if not named:
        return nodes[0].name
    return named[0] if named[0] == named[-1] else f"{named[0]}..{named[-1]}"
