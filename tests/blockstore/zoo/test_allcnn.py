"""ALL-CNN-C: the published size, and the reduction of resolution of the paper's table."""

from __future__ import annotations

import torch

from blockstore.block import TensorSpec
from blockstore.zoo.allcnn import all_cnn_c
from tests.blockstore.zoo.nets import parameters, traced


def test_the_folded_network_has_the_published_number_of_parameters() -> None:
    """About 1.4 million (Springenberg et al.): sums over tables 1 and 2, with a bias for each filter."""
    assert parameters(traced(all_cnn_c(), 32).module) == 1_369_738


def test_it_can_be_traced() -> None:
    assert traced(all_cnn_c(classes=4), 32).output == TensorSpec("float32", (4,))


def test_the_mean_is_over_six_by_six_places() -> None:
    network = all_cnn_c()
    assert isinstance(network, torch.nn.Sequential)
    with torch.no_grad():
        assert network[:-2](torch.zeros(1, 3, 32, 32)).shape == (1, 10, 6, 6)
