"""Prune: variants of a block with fewer inner filters; what enters and what leaves the block keeps its shape.

The mechanics (which tensors belong together, cutting them) are torch-pruning's. The block is put between two anchors,
1x1 layers that may not change: a filter group that reaches an anchor is the block's input or output and is left
alone. That is the rule of LegoDNN's code (the last convolution on every path untouched), and it holds for residual,
depthwise and padded shortcuts alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, fx, nn

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock
from blockstore.build.trace import example


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """A block with fewer inner filters, not yet retrained."""

    ratio: float
    module: fx.GraphModule
    filters_before: int
    filters_after: int
    """Filters of all inner groups of the block together."""

    @property
    def name(self) -> str:
        """`pruned-25` lost a quarter of its inner filters."""
        return f"pruned-{round(100 * self.ratio)}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A variant that was not made, and why."""

    block: int
    ratio: float
    reason: str


def prunable(block: fx.GraphModule, spec: TensorSpec) -> bool:
    """Whether `block`, which takes `spec`, has an inner group of filters at all."""
    _, roots = _inner_roots(_Anchored(copy.deepcopy(block), spec), spec)
    return bool(roots)


def variants(
    block: CutBlock, ratios: Sequence[float], importance: str, width_multiple: int
) -> tuple[tuple[Pruned, ...], tuple[Skipped, ...]]:
    """One variant for each ratio, smallest first, without those that round to the widths of another.

    `importance` is `l1` or `l2`: the norm of a filter and of what reads it. The filters of smallest norm go.
    """
    made: list[Pruned] = []
    skipped: list[Skipped] = []
    taken = {_widths(block.module)}
    for ratio in sorted(ratios):
        pruned = _prune(block, ratio, {"l1": 1, "l2": 2}[importance], width_multiple)
        reason = _fault(pruned, block, taken)
        if reason:
            skipped.append(Skipped(block.index, ratio, reason))
        else:
            made.append(pruned)
            taken.add(_widths(pruned.module))
    return tuple(made), tuple(skipped)


def kept_filters(filters: int, ratio: float, multiple: int) -> int:
    """How many of `filters` stay when the share `ratio` goes: a multiple of `multiple`, at least one, at most all."""
    nearest = multiple * max(1, int(filters * (1 - ratio) / multiple + 0.5))
    return min(nearest, filters)


def _prune(block: CutBlock, ratio: float, norm: int, multiple: int) -> Pruned:
    module = copy.deepcopy(block.module)
    graph, roots = _inner_roots(_Anchored(module, block.input), block.input)
    score = tp.importance.MagnitudeImportance(p=norm)
    before = after = 0
    for root in roots:
        function = tp.prune_conv_out_channels if isinstance(root, nn.Conv2d) else tp.prune_linear_out_channels
        filters = graph.get_out_channels(root)
        keep = kept_filters(filters, ratio, multiple)
        before, after = before + filters, after + keep
        if keep < filters:
            scores = score(graph.get_pruning_group(root, function, list(range(filters))))
            doomed = torch.argsort(scores, stable=True)[: filters - keep].tolist()
            graph.get_pruning_group(root, function, sorted(doomed)).prune()
    return Pruned(ratio, module.requires_grad_(False), before, after)


def _fault(pruned: Pruned, block: CutBlock, taken: set[tuple[int, ...]]) -> str | None:
    """Why `pruned` is of no use, or None."""
    if pruned.filters_before == 0:
        return "no inner filters: every convolution reaches the block's input or output"
    if _widths(pruned.module) in taken:
        return (
            f"{pruned.filters_after} of {pruned.filters_before} filters, as another variant; lower the width multiple"
        )
    try:
        with torch.no_grad():
            shape = tuple(pruned.module(example(block.input)).shape[1:])
    except RuntimeError as error:
        return f"the pruned graph does not run (a channel count is written into its code?): {error}"
    return None if shape == block.output.shape else f"the output became {shape}"


def _widths(module: fx.GraphModule) -> tuple[int, ...]:
    return tuple(n for p in module.parameters() for n in p.shape)


class _Anchored(nn.Module):
    """`block` between two layers that are never pruned."""

    def __init__(self, block: fx.GraphModule, spec: TensorSpec) -> None:
        super().__init__()
        # A frame enters through `Preprocess`, whose channels nothing can prune.
        self.before = None if spec.dtype == "uint8" else _anchor(spec.shape)
        self.block = block
        with torch.no_grad():
            self.after = _anchor(tuple(block(example(spec)).shape[1:]))

    def forward(self, x: Tensor) -> Any:
        return self.after(self.block(x if self.before is None else self.before(x)))


def _anchor(shape: tuple[int, ...]) -> nn.Module:
    if len(shape) == 3:
        return nn.Conv2d(shape[0], shape[0], 1)
    return nn.Linear(shape[-1], shape[-1])


def _inner_roots(anchored: _Anchored, spec: TensorSpec) -> tuple[Any, list[nn.Module]]:
    """The dependency graph, and one layer of each group of filters that touches neither end of the block."""
    anchored.eval().requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(anchored, example_inputs=example(spec))
    anchors = [a for a in (anchored.before, anchored.after) if a is not None]
    roots = []
    for group in graph.get_all_groups(ignored_layers=anchors, root_module_types=[nn.Conv2d, nn.Linear]):
        layers = [dep.target.module for dep, _ in group]
        if not any(layer in anchors or _is_grouped(layer) for layer in layers) and _is_whole(graph, group):
            roots.append(layers[0])
    return graph, roots


def _is_whole(graph: Any, group: Any) -> bool:
    """Whether the group names every channel of all its layers: not so across a shortcut that pads channels."""
    for dep, channels in group:
        if graph.is_out_channel_pruning_fn(dep.handler):
            count = graph.get_out_channels(dep.target)
        elif graph.is_in_channel_pruning_fn(dep.handler):
            count = graph.get_in_channels(dep.target)
        else:
            continue
        if count is not None and sorted(channels) != list(range(count)):
            return False
    return True


def _is_grouped(layer: object) -> bool:
    """Grouped, but not depthwise: its filters go only in whole groups, which are left alone here."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels
