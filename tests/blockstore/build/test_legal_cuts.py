"""Legal cuts: where one tensor crosses, and what those places are called."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.legal_cuts import LegalCut, legal_cuts, obstacle_of, places
from tests.blockstore.build import networks


class Dense(nn.Module):
    """Each layer takes the concatenation of all before it, with constants on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3 * n, 3, 3, padding=1) for n in (1, 2, 3)])
        self.shift = nn.Parameter(torch.rand(1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, functional.leaky_relu(layer(x))], 1) + self.shift
        return x.mean((2, 3))


def test_no_cut_goes_through_a_residual_unit_or_parts_an_activation_from_its_convolution() -> None:
    cuts = legal_cuts(networks.traced(networks.residual()))
    assert [cut.name for cut in cuts] == ["2", "3.relu_1", "4.relu_1", "5.relu_1", "6", "7"]
    assert cuts[2] == LegalCut("4.relu_1", 14, TensorSpec("float32", (16, 6, 6)))


def test_a_concatenating_network_is_cut_between_its_units_and_constants_prevent_nothing() -> None:
    assert [cut.name for cut in legal_cuts(networks.traced(Dense()))] == [
        "cat",
        "add",
        "cat_1",
        "add_1",
        "cat_2",
        "add_2",
    ]


def test_no_cut_is_made_where_frames_are_not_the_first_dimension() -> None:
    class Turns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)).transpose(0, 1).sqrt().transpose(0, 1)

    assert [cut.name for cut in legal_cuts(networks.traced(Turns()))] == ["mean"]


def test_a_part_of_the_network_stands_for_its_last_operator() -> None:
    known = places(networks.traced(networks.depthwise()))
    assert known["1"] == known["1.add"] > known["1.expand"] == known["1.expand.2"]


def test_a_network_of_one_operator_has_nothing_that_prevents_a_cut() -> None:
    traced = networks.traced(nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert legal_cuts(traced) == ()
    assert obstacle_of(traced.module.graph) == "it has no more operators"
