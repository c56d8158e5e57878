"""ResNet-18: the published size, and weights under the names that others use."""

from __future__ import annotations

from blockstore.block import TensorSpec
from blockstore.zoo.resnet18 import resnet18
from tests.blockstore.zoo.nets import parameters, traced


def test_the_network_has_the_published_number_of_parameters() -> None:
    """11.7 million; to the last one, those of torchvision's resnet18."""
    assert parameters(resnet18()) == 11_689_512


def test_it_can_be_traced() -> None:
    assert traced(resnet18(classes=7), 64).output == TensorSpec("float32", (7,))


def test_weights_have_the_names_of_torchvision() -> None:
    names = set(resnet18().state_dict())
    expected = ("conv1", "layer1.1.conv2", "layer2.0.downsample.0", "layer2.0.downsample.1", "layer4.1.bn2", "fc")
    assert {f"{name}.weight" for name in expected} <= names
    assert not any(name.startswith("layer1.0.downsample") for name in names)
