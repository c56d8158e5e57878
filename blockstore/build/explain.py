"""Explain: where a network may be cut, and what its chosen blocks consist of and cost, as rows for a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch_pruning as tp
from torch import fx

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock, Division, cut_names
from blockstore.build.legal_cuts import LegalCut, legal_cuts, operators_of
from blockstore.build.trace import Traced, example


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block of a division."""

    index: int
    name: str
    operators: Mapping[str, int]
    """How many there are of each type, most frequent first: `{"Conv2d": 4, "relu": 2}`."""
    parameters: int
    multiply_adds: int
    """For one frame."""
    latency_ms: float
    input: TensorSpec
    output: TensorSpec
    cut_after: str | None
    """The cut that ends it, as `--cuts` takes it; None for the last block."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `schedulerd build --explain` tells."""

    cuts: tuple[LegalCut, ...]
    blocks: tuple[BlockRow, ...]
    outputs: tuple[TensorSpec, ...]
    """What the network gives; several leave the last block as one tensor."""
    obstacle: str | None
    """What keeps the network from more blocks, where fewer were made than asked for."""


def explain(
    traced: Traced, division: Division, latency_ms: Callable[[fx.GraphModule, TensorSpec], float]
) -> Explanation:
    """Every legal cut of `traced`, and the blocks of `division`; `latency_ms` is asked once for each block."""
    ends = (*cut_names(traced, division), None)
    rows = tuple(
        _row(block, latency_ms(block.module, block.input), end)
        for block, end in zip(division.blocks, ends, strict=True)
    )
    return Explanation(legal_cuts(traced), rows, traced.outputs, division.obstacle)


def _row(block: CutBlock, latency_ms: float, cut_after: str | None) -> BlockRow:
    multiply_adds, _ = tp.utils.count_ops_and_params(block.module, example(block.input, batch=1))
    return BlockRow(
        block.index,
        block.name,
        _operators(block.module),
        sum(p.numel() for p in block.module.parameters()),
        int(multiply_adds),
        latency_ms,
        block.input,
        block.output,
        cut_after,
    )


def _operators(module: fx.GraphModule) -> Mapping[str, int]:
    """Constants and sizes are no operators: they cost nothing."""
    types = [_type(module, n) for n in operators_of(module.graph) if n.op != "get_attr" and n.target != "size"]
    return dict(Counter(types).most_common())


def _type(module: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))
