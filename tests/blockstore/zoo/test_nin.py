"""Network in Network: the size of the authors' network, and its resolutions."""

from __future__ import annotations

import torch

from blockstore.block import TensorSpec
from blockstore.zoo.nin import nin
from tests.blockstore.zoo.nets import parameters, traced


def test_the_folded_network_has_the_published_number_of_parameters() -> None:
    """About a million (as Springenberg et al. 2015 give it): sums over the authors' definition, biases included."""
    assert parameters(traced(nin(), 32).module) == 966_986


def test_it_can_be_traced() -> None:
    assert traced(nin(classes=4), 32).output == TensorSpec("float32", (4,))


def test_the_mean_is_over_eight_by_eight_places() -> None:
    network = nin()
    assert isinstance(network, torch.nn.Sequential)
    with torch.no_grad():
        assert network[:-2](torch.zeros(1, 3, 32, 32)).shape == (1, 10, 8, 8)
