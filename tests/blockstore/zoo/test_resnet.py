"""CIFAR residual networks: the published weights fit, and give the accuracy that is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blockstore.build.weights import load_weights
from blockstore.zoo.datasets import cifar10
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.resnet import cifar_resnet


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_networks_have_the_published_number_of_parameters(depth: int, parameters: int) -> None:
    assert sum(p.numel() for p in cifar_resnet(depth).parameters()) == parameters


def test_a_depth_that_is_not_6n_plus_2_is_refused() -> None:
    with pytest.raises(ValueError, match="6n\\+2"):
        cifar_resnet(21)


@pytest.mark.shared
def test_the_published_weights_recognise_cifar10(shared: Path) -> None:
    images = cifar10(str(shared / "data" / "cifar10"), test_limit=500).held_out()
    network = load_weights(cifar_resnet(20), shared / "models" / "resnet20-cifar10.safetensors").eval()
    preprocess = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        labels = network(preprocess(torch.from_numpy(images.images))).argmax(1).numpy()
    assert (labels == images.class_labels()).mean() > 0.77
