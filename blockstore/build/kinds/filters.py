"""Filters inside a block: which belong together, what they are worth by their weights, and the block without some.

The mechanics (which tensors depend on each other, cutting them) are torch-pruning's. The block is put between two
anchors, layers that may not change: a group of filters that reaches an anchor is the block's input or output and is
left alone. That is the rule of LegoDNN's code (the last convolution on every path untouched), and it holds for
residual, depthwise, concatenating and padded paths alike.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch_pruning as tp
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.graphs import varying
from blockstore.build.trace import example

_RESHAPING: Final = (torch.flatten, torch.unsqueeze, "flatten", "permute", "reshape", "unsqueeze", "view")
_JOINING: Final = (torch.mean, torch.sum, torch.amax, "mean", "sum", "amax")
_SOFTMAX: Final = (torch.softmax, functional.softmax, "softmax")


@dataclass(frozen=True, slots=True)
class Reader:
    """A layer that takes in the channels that a group of filters makes."""

    layer: str
    inputs: tuple[int, ...]
    """Channels of its input that come from the group."""
    filters: tuple[int, ...]
    """For each of them the filter that it belongs to; a flattened map is many inputs of one filter."""


@dataclass(frozen=True, slots=True)
class FilterGroup:
    """Filters that only go together: every layer that makes or reads the same channels. Layers are named."""

    root: str
    filters: int
    makers: tuple[str, ...]
    """Layers whose outputs are these channels, among them depthwise ones."""
    readers: tuple[Reader, ...]


def inner_groups(module: fx.GraphModule, spec: TensorSpec) -> tuple[FilterGroup, ...]:
    """The groups of `module`, which takes `spec`, that touch neither its input nor its output.

    Raises `Declined` where channels are split, sliced or shuffled so that torch-pruning loses count of them.
    """
    dependencies = _Dependencies(module, spec)
    return tuple(dependencies.describe(root) for root in dependencies.roots)


def prunable(module: fx.GraphModule, spec: TensorSpec) -> bool:
    """Whether `module`, which takes `spec`, has a filter that could go."""
    try:
        return any(group.filters > 1 for group in inner_groups(module, spec))
    except Declined:
        return False


def norms(module: fx.GraphModule, spec: TensorSpec, degree: int) -> dict[str, Tensor]:
    """By the root of each inner group, `[filters]`: the norm of every filter together with what reads it."""
    dependencies = _Dependencies(module, spec)
    importance = tp.importance.MagnitudeImportance(p=degree)
    return {root: importance(dependencies.group(root)).detach() for root in dependencies.roots}


def without(module: fx.GraphModule, spec: TensorSpec, doomed: Mapping[str, Sequence[int]]) -> fx.GraphModule:
    """A copy of `module`, frozen, that lacks the `doomed` filters, given by the root of their group.

    Raises `Declined` where the copy does not run or has another output shape.
    """
    dependencies = _Dependencies(module, spec)
    for root, filters in doomed.items():
        if filters:
            dependencies.group(root, sorted(filters)).prune()
    pruned = dependencies.module.requires_grad_(False)
    _check_output(module, pruned, spec)
    return pruned


class _Dependencies:
    """torch-pruning's graph of a copy of a block, and one layer of each inner group of filters, by name."""

    def __init__(self, module: fx.GraphModule, spec: TensorSpec) -> None:
        self.module = copy.deepcopy(module)
        self._names = {layer: name for name, layer in self.module.named_modules()}
        anchored = _Anchored(self.module, spec).eval().requires_grad_(True)
        anchors, kinds = [*anchored.before, *anchored.after], [nn.Conv2d, nn.Linear]
        with _counted():
            # Not told: it would warn of the block's own constants, whose filters `_watched` leaves alone.
            self._graph = tp.DependencyGraph().build_dependency(anchored, example_inputs=example(spec), verbose=False)
            self.roots = [
                self._names[group[0].dep.target.module]
                for group in self._graph.get_all_groups(ignored_layers=anchors, root_module_types=kinds)
                if self._is_inner(group, anchors)
            ]

    def group(self, root: str, filters: Sequence[int] | None = None) -> Any:
        """torch-pruning's group of some filters of the layer named `root`; of all, without `filters`."""
        layer = self.module.get_submodule(root)
        function = tp.prune_conv_out_channels if isinstance(layer, nn.Conv2d) else tp.prune_linear_out_channels
        chosen = range(self._graph.get_out_channels(layer)) if filters is None else filters
        with _counted():
            return self._graph.get_pruning_group(layer, function, list(chosen))

    def describe(self, root: str) -> FilterGroup:
        makers, readers = [], []
        group = self.group(root)
        for item in group.items:
            name = self._names.get(item.dep.target.module)
            if name is None:
                continue
            if self._graph.is_out_channel_pruning_fn(item.dep.handler):
                makers.append(name)
            else:
                readers.append(Reader(name, tuple(item.idxs), tuple(item.root_idxs)))
        return FilterGroup(root, len(group[0].idxs), tuple(makers), tuple(readers))

    def _is_inner(self, group: Any, anchors: Sequence[nn.Module]) -> bool:
        layers = [dep.target.module for dep, _ in group]
        if any(layer in anchors or _is_grouped(layer) for layer in layers) or self._is_coupled(group):
            return False
        return self._is_whole(group)

    def _is_coupled(self, group: Any) -> bool:
        """Whether filters of one layer go only together, as the halves that a gate multiplies: they have no ranks."""
        root, prune = group[0].dep.target.module, group[0].dep.handler
        alone = self._graph.get_pruning_group(root, prune, [0])
        return any(dep.target.module is root and list(idxs) != [0] for dep, idxs in alone if dep.handler == prune)

    def _is_whole(self, group: Any) -> bool:
        """Whether the group names every channel that its layers make: not so across a shortcut that pads channels.

        A layer may read other channels too, where they were concatenated.
        """
        concatenates = any(dep.target.type == tp.ops.OPTYPE.CONCAT for dep, _ in group)
        for dep, channels in group:
            makes = self._graph.is_out_channel_pruning_fn(dep.handler)
            count = (self._graph.get_out_channels if makes else self._graph.get_in_channels)(dep.target)
            named = dep.target.module in self._names and count is not None
            if not named:
                continue
            if concatenates and not makes:
                if len(set(channels)) != len(channels) or not set(channels) <= set(range(count)):
                    return False
            elif sorted(channels) != list(range(count)):
                return False
        return True


@contextmanager
def _counted() -> Iterator[None]:
    """torch-pruning fails where it cannot tell how many channels there are, as behind `chunk` or after many slices.

    It gives up counting after 500 steps and warns. Where it only warns, what is sliced is anchored, and no group needs
    the number.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Maximum recursive depth", UserWarning)
        try:
            yield
        except TypeError as error:
            raise Declined(
                "channels are split or shuffled so that their number cannot be followed: cut the block elsewhere, or "
                "leave this kind of variant out"
            ) from error


class _Anchored(nn.Module):
    """`block` between layers that are never pruned."""

    def __init__(self, block: fx.GraphModule, spec: TensorSpec) -> None:
        super().__init__()
        # A frame enters through `Preprocess`, whose channels nothing can prune.
        self.before = nn.Sequential(*([] if spec.dtype == "uint8" else [_entry(spec.shape)]))
        self.block = _watched(block)
        with torch.no_grad():
            self.after = nn.ModuleList(_exit(tuple(leaving.shape[1:])) for leaving in self.block(example(spec)))

    def forward(self, x: Tensor) -> Any:
        return [anchor(leaving) for anchor, leaving in zip(self.after, self.block(self.before(x)), strict=True)]


def _watched(block: fx.GraphModule) -> fx.GraphModule:
    """The layers of `block` in a graph that gives, after the output, what torch-pruning cannot follow.

    What is reshaped before it is concatenated, where it counts channels wrongly, for ever; nothing is followed through.
    A tensor of which channels are sliced, for it takes the part for the whole, or averaged, for fewer of them have
    another mean. And what is computed with a constant
    that has channels itself (a scale for each), which nothing would shorten.
    """
    graph = copy.deepcopy(block.graph)
    (output,) = (node for node in graph.nodes if node.op == "output")
    watched = [output.args[0]]
    layers = dict(block.named_modules())
    for node in _reshaped_before_joined(graph, layers):
        watched.append(node.args[0])
        with graph.inserting_before(node):
            # Dependencies are read off the autograd graph, which ends here.
            node.args = (graph.call_method("detach", (node.args[0],)), *node.args[1:])
    watched.extend(node.args[0] for node in graph.nodes if _slices_channels(node) or _joins_channels(node, layers))
    watched.extend(_with_wide_constants(graph, block))
    output.args = (tuple(watched),)
    return fx.GraphModule(block, graph)


def _slices_channels(node: fx.Node) -> bool:
    """Whether `node` is `x[:, some]`; `x[:, None]` takes all."""
    index = node.args[1] if node.target is operator.getitem else None
    return isinstance(index, tuple) and any(part not in (slice(None), None) for part in index[:2])


def _joins_channels(node: fx.Node, layers: Mapping[str, nn.Module]) -> bool:
    """Whether `node` may be a mean, sum, maximum or softmax over channels: only over places it surely is not."""
    layer = layers.get(str(node.target)) if node.op == "call_module" else node.target
    if isinstance(layer, nn.Softmax) or layer in _SOFTMAX:
        return True
    if layer not in _JOINING:
        return False
    given = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    dims = set(given) if isinstance(given, tuple | list) else {given}
    return dims not in ({2, 3}, {-1, -2})


def _with_wide_constants(graph: fx.Graph, block: fx.GraphModule) -> list[fx.Node]:
    """Operators that compute with the input and with a constant of more than one value."""
    depends = varying(graph)

    def is_wide(source: fx.Node) -> bool:
        # What is computed of constants is taken to be wide.
        fetched = source.op == "get_attr"
        return source not in depends and not (fetched and operator.attrgetter(str(source.target))(block).numel() == 1)

    return [node for node in graph.nodes if node in depends and any(map(is_wide, node.all_input_nodes))]


def _reshaped_before_joined(graph: fx.Graph, layers: Mapping[str, nn.Module]) -> list[fx.Node]:
    """Reshaping operators with no layer between them and a concatenation."""
    found: list[fx.Node] = []
    waiting = [source for node in graph.nodes if node.target is torch.cat for source in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if node.target in _RESHAPING or isinstance(layer, nn.Flatten):
            found.extend([] if node in found else [node])
        elif not isinstance(layer, nn.Conv2d | nn.Linear):
            waiting.extend(node.all_input_nodes)
    return found


def _entry(shape: tuple[int, ...]) -> nn.Module:
    """A layer that keeps channels as they come; normalisation, because a dense one of a flattened map is too large."""
    if len(shape) == 3:
        return nn.BatchNorm2d(shape[0])
    return nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.Linear(shape[-1], shape[-1])


def _exit(shape: tuple[int, ...]) -> nn.Module:
    """A layer that reads all channels, where there are any; one output is enough."""
    if not shape:
        return nn.Identity()
    return nn.Conv2d(shape[0], 1, 1) if len(shape) == 3 else nn.Linear(shape[-1], 1)


def _is_grouped(layer: object) -> bool:
    """Grouped, but not depthwise: its filters go only in whole groups, which are left alone here."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels


def _check_output(before: fx.GraphModule, after: fx.GraphModule, spec: TensorSpec) -> None:
    with torch.no_grad():
        expected = before(example(spec)).shape
        try:
            # Not called: a graph that is called and fails prints where.
            shape = fx.Interpreter(after).run(example(spec)).shape
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise Declined(
                f"without filters the block does not run (a channel count is written into its code?): {reason}"
            ) from error
    if shape != expected:
        raise Declined(f"without filters the output becomes {list(shape[1:])} instead of {list(expected[1:])}")
