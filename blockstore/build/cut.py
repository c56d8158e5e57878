"""Cut: an fx graph becomes a chain of blocks, one tensor in and one tensor out, balanced by latency or as told."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from torch import fx

from blockstore.block import TensorSpec
from blockstore.build.legal_cuts import legal_cuts, name_of, obstacle_of, operators_of, places
from blockstore.build.trace import Traced, spec_of
from blockstore.errors import CannotCut


@dataclass(frozen=True, slots=True, eq=False)
class CutBlock:
    """One block of the original network. Its modules are those of the traced network, not copies."""

    index: int
    name: str
    module: fx.GraphModule
    input: TensorSpec
    output: TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A network divided into blocks that follow one another."""

    blocks: tuple[CutBlock, ...]
    obstacle: str | None
    """The operator that keeps the network from being cut into as many blocks as were asked for; None where it is."""


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
) -> Division:
    """Divide `traced` into `blocks` blocks, or into as many as there can be.

    First as many blocks as possible contain something `prunable` and no cut goes through a layer's inner width, then
    the slowest block is as quick as possible (`latency_ms` is asked once for every segment).
    """
    segments = segments_of(traced)
    possible = min(blocks, len(segments))
    costs = [latency_ms(s.module, _spec(s.source)) for s in segments] if possible > 1 else [0.0] * len(segments)

    def joined_prunable(first: int, last: int) -> bool:
        joined = _join(traced, segments[first:last])
        return prunable(joined, _spec(segments[first].source))

    bounds = partition(costs, possible, monotone(joined_prunable, len(segments)), wide_bounds(segments))
    return Division(_blocks(traced, segments, bounds), obstacle_of(traced.module.graph) if possible < blocks else None)


def cut_at(traced: Traced, names: Sequence[str]) -> Division:
    """Divide `traced` after the operators or parts called `names` (see `legal_cuts`), in any order.

    Raises `CannotCut` for a name that is unknown, or where no cut is legal, with the nearest that is.
    """
    bounds = {cut.position: number for number, cut in enumerate(legal_cuts(traced), start=1)}
    known = places(traced)
    chosen = []
    for name in names:
        if name not in known:
            raise CannotCut(f"the network has nothing called {name!r}; {_likely(traced, name)}")
        if known[name] not in bounds:
            raise CannotCut(f"no cut is legal after {name!r}; {_nearest(traced, known[name])}")
        chosen.append(bounds[known[name]])
    segments = segments_of(traced)
    return Division(_blocks(traced, segments, (0, *sorted(set(chosen)), len(segments))), None)


def cut_names(traced: Traced, division: Division) -> list[str]:
    """Where `division` cuts, as `cut_at` takes it: one name fewer than there are blocks."""
    names = {cut.position: cut.name for cut in legal_cuts(traced)}
    ends, end = [], -1
    for block in division.blocks[:-1]:
        end += len(operators_of(block.module.graph))
        ends.append(names[end])
    return ends


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
    nodes = operators_of(traced.module.graph)
    source = next(n for n in traced.module.graph.nodes if n.op == "placeholder")
    ends = [*(cut.position + 1 for cut in legal_cuts(traced)), len(nodes)]
    segments = []
    for start, end in pairwise([0, *ends]):
        run = nodes[start:end]
        segments.append(Segment(_extract(traced.module, source, run), tuple(run), source))
        source = run[-1]
    return tuple(segments)


def _likely(traced: Traced, name: str) -> str:
    legal = [cut.name for cut in legal_cuts(traced)]
    close = difflib.get_close_matches(name, legal, n=3, cutoff=0.0)
    return f"legal cuts with names like it: {', '.join(close)}" if close else "it has no legal cut"


def _nearest(traced: Traced, position: int) -> str:
    cuts = legal_cuts(traced)
    before = [f"before it {c.name!r}" for c in cuts if c.position < position][-1:]
    after = [f"after it {c.name!r}" for c in cuts if c.position > position][:1]
    return f"the nearest legal ones are {' and '.join(before + after)}" if before + after else "it has no legal cut"


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


def _blocks(traced: Traced, segments: Sequence[Segment], bounds: Sequence[int]) -> tuple[CutBlock, ...]:
    return tuple(_block(traced, index, segments[first:last]) for index, (first, last) in enumerate(pairwise(bounds)))


def _block(traced: Traced, index: int, segments: Sequence[Segment]) -> CutBlock:
    nodes = [n for s in segments for n in s.nodes]
    module = _join(traced, segments)
    return CutBlock(index, _name(traced, nodes), module, _spec(segments[0].source), _spec(nodes[-1]))


def _spec(node: fx.Node) -> TensorSpec:
    spec = spec_of(node)
    assert spec is not None, "a cut is legal only where a tensor of the batch crosses"
    return spec


def _name(traced: Traced, nodes: Sequence[fx.Node]) -> str:
    """First and last layer with weights, as the network calls them: `layer1.0.conv1..layer1.2.conv2`."""
    layers = [
        name_of(n)
        for n in nodes
        if n.op == "call_module" and any(True for _ in traced.module.get_submodule(str(n.target)).parameters())
    ] or [name_of(n) for n in nodes]
    return layers[0] if layers[0] == layers[-1] else f"{layers[0]}..{layers[-1]}"
