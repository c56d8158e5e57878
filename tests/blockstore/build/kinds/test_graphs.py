"""Sizes of a graph: shapes without the batch, multiply-adds of one frame."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from blockstore.build.kinds.graphs import sizes_of, varying
from tests.blockstore.build.kinds.reshaping import block_of


class Constants(nn.Module):
    """A constant, one computed of it, and a sum of that and the input."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.constant)


def test_what_is_computed_of_constants_alone_does_not_vary() -> None:
    graph = fx.symbolic_trace(Constants()).graph
    depends = varying(graph)
    assert [node.op for node in graph.nodes if node not in depends] == ["get_attr", "call_function"]
    assert [node.op for node in graph.nodes if node in depends] == ["placeholder", "call_function", "output"]


def test_multiply_adds_count_what_the_weights_of_layers_do_for_one_frame() -> None:
    layers = (nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    block = block_of(nn.Sequential(*layers)).block
    sizes = sizes_of(block.module, block.input)
    modules = dict(block.module.named_modules())
    nodes = [node for node in block.module.graph.nodes if node.op == "call_module"]
    assert [sizes.shapes[node.name] for node in nodes] == [(8, 4, 4), (8, 4, 4), (128,), (5,)]
    assert [sizes.multiply_adds(node, modules) for node in nodes] == [8 * 4 * 4 * 2 * 9, 0, 0, 5 * 128]
    assert not any("tensor_meta" in node.meta for node in block.module.graph.nodes)
