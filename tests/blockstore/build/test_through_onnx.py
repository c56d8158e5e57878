"""The second route: a network that torch.fx cannot follow, through torch.export and ONNX."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blockstore.build.through_onnx import through_onnx
from blockstore.errors import CannotCut
from tests.blockstore.build import networks


def test_a_network_that_only_torch_export_can_follow_computes_the_same() -> None:
    network = networks.Unrolled().eval()
    traced = networks.traced(network)
    frames = networks.frames(3)
    assert torch.allclose(traced.module(frames), network(networks.PREPROCESS(frames)), atol=1e-5)
    assert "network.first" in dict(traced.module.named_modules())


def test_the_layers_keep_their_names() -> None:
    module = through_onnx(networks.Unrolled().eval(), torch.zeros(1, 3, 12, 12))
    layers = {name: type(layer) for name, layer in module.named_modules()}
    assert layers["first"] is layers["second"] is nn.Conv2d


def test_control_flow_that_depends_on_values_is_refused() -> None:
    with pytest.raises(CannotCut, match=r"torch\.export cannot trace the network: .*data-dependent"):
        through_onnx(networks.Branching(), torch.zeros(1, 3, 12, 12))
