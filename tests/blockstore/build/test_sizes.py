"""Sizes: what a network reads off its tensors prevents no cut, and stays right for any batch."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from blockstore.build.legal_cuts import legal_cuts
from blockstore.build.sizes import localise
from tests.blockstore.build import networks


def test_a_network_that_reads_sizes_can_be_cut_between_any_two_of_its_operators() -> None:
    network = networks.ReadsSizes().eval()
    traced = networks.traced(network)
    frames = networks.frames(3)
    assert torch.allclose(traced.module(frames), network(networks.PREPROCESS(frames)), atol=1e-5)
    names = [cut.name for cut in legal_cuts(traced)]
    assert names == ["relu", "second", "reshape_1", "interpolate", "mul", "mean", "reshape_2"]


def test_channels_are_still_read_off_the_tensor_so_that_pruning_may_change_them() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.reshape(n, c * h * w)

    module = localise(fx.symbolic_trace(Views()), torch.zeros(1, 3, 4, 4))
    assert module(torch.zeros(5, 7, 4, 4)).shape == (5, 7 * 16)


def test_a_product_with_the_batch_is_left_alone() -> None:
    class Merges(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.size()
            return x.reshape(n * c, h * w).mean(1).reshape(n, c)

    module = localise(fx.symbolic_trace(Merges()), torch.zeros(1, 3, 4, 4))
    frames = torch.rand(5, 3, 4, 4)
    assert torch.allclose(module(frames), frames.mean((2, 3)))
