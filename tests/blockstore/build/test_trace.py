"""Trace: what becomes of a network before it is cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from blockstore.block import TensorSpec
from blockstore.build.trace import trace
from blockstore.errors import CannotCut, UnsupportedOperator
from tests.blockstore.build import networks

NETWORKS = [networks.residual, networks.plain, networks.depthwise]


@pytest.mark.parametrize("make", NETWORKS)
def test_a_traced_network_takes_frames_and_computes_the_same(make: Callable[[], nn.Module]) -> None:
    network = make()
    frames = networks.frames(3)
    expected = network((frames.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    assert torch.allclose(networks.traced(network).module(frames), expected, atol=1e-4)


@pytest.mark.parametrize("make", NETWORKS)
def test_batch_normalisation_is_folded_away(make: Callable[[], nn.Module]) -> None:
    traced = networks.traced(make())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in traced.module.modules())
    assert traced.output == TensorSpec("float32", (4,))


def test_dropout_is_taken_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert not any(isinstance(m, nn.Dropout | nn.Identity) for m in networks.traced(network).module.modules())


def test_a_network_that_branches_on_values_is_refused_with_the_line_and_both_routes() -> None:
    with pytest.raises(CannotCut, match=r"torch\.fx cannot .*if x\.sum\(\) > 0.*torch\.export cannot .*data-dependent"):
        networks.traced(nn.Sequential(nn.Conv2d(3, 4, 3), networks.Branching()))


def test_an_operator_that_the_torch_form_lacks_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperator, match=r"InstanceNorm2d.*nor the other way: operator InstanceNormalization"):
        networks.traced(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)))


def test_frames_of_another_size_than_the_network_takes_are_refused() -> None:
    with pytest.raises(CannotCut, match=r"does not run on frames of uint8\[9x9x3\]"):
        trace(networks.fixed_size(), networks.PREPROCESS, TensorSpec("uint8", (9, 9, 3)))
