"""Sizes of a graph: shapes without the batch, multiply-adds of one frame."""

from __future__ import annotations

from torch import nn

from blockstore.build.kinds.graphs import sizes_of
from tests.blockstore.build.kinds.reshaping import block_of


def test_multiply_adds_count_what_the_weights_of_layers_do_for_one_frame() -> None:
    layers = (nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    block = block_of(nn.Sequential(*layers)).block
    sizes = sizes_of(block.module, block.input)
    modules = dict(block.module.named_modules())
    nodes = [node for node in block.module.graph.nodes if node.op == "call_module"]
    assert [sizes.shapes[node.name] for node in nodes] == [(8, 4, 4), (8, 4, 4), (128,), (5,)]
    assert [sizes.multiply_adds(node, modules) for node in nodes] == [8 * 4 * 4 * 2 * 9, 0, 0, 5 * 128]
    assert not any("tensor_meta" in node.meta for node in block.module.graph.nodes)
