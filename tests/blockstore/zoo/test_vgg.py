"""VGG-16: the published sizes, and weights under the names that others use."""

from __future__ import annotations

import pytest
import torch

from blockstore.block import TensorSpec
from blockstore.build import named
from blockstore.errors import CannotBuild
from blockstore.zoo.vgg import vgg16
from tests.blockstore.zoo.nets import parameters, traced


def test_the_form_for_imagenet_has_the_published_number_of_parameters() -> None:
    """138 million (Simonyan and Zisserman, table 2); to the last one, those of torchvision's vgg16."""
    with torch.device("meta"):
        network = vgg16()
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert parameters(network) == 138_357_544


def test_weights_have_the_names_of_torchvision() -> None:
    with torch.device("meta"):
        names = list(vgg16().state_dict())
    assert names[:4] == ["features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias"]
    assert names[-6::2] == ["classifier.0.weight", "classifier.3.weight", "classifier.6.weight"]


def test_the_form_for_cifar_keeps_the_convolutions_and_one_linear_layer() -> None:
    """14,714,688 in the convolutions, as in the form for ImageNet; 513 for each class."""
    cifar = traced(named.call("blockstore.zoo.vgg:vgg16?input=32&classes=10"), 32)
    assert cifar.output == TensorSpec("float32", (10,))
    assert parameters(cifar.module) == 14_714_688 + 513 * 10


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(CannotBuild, match="input is 64"):
        vgg16(input=64)
