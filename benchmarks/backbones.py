"""The networks of the exits' benchmark: ResNet-20, ResNet-56 and VGG-16 of half the width, taught CIFAR-10 as it is.

The images are lossy JPEGs: the published weights of the residual networks have 81 and 83% on them, and heads that learn
from such images would beat the very network that they stand on. So these weights are refined on the training images
first; VGG-16 learns from nothing. What is learnt is kept in out/exits and used again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import nn

from benchmarks.storebuild import ROOT, SHARED
from blockstore.build.images import Labelled
from blockstore.build.progress import shown
from blockstore.build.weights import load_weights
from blockstore.zoo.datasets import cifar10
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.resnet import cifar_resnet
from blockstore.zoo.train import Lessons, train
from blockstore.zoo.vgg import vgg16

IMAGES = SHARED / "data" / "cifar10"
OUT = ROOT / "out" / "exits"
LEARNT = 45_000
"""Training images that networks and heads learn from."""
HELD_BACK = 3000
"""Test images from the front."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESS = Preprocess(MEAN, STD)


@dataclass(frozen=True)
class Backbone:
    """A network of the benchmark and how it is taught."""

    name: str
    make: Callable[[], nn.Module]
    lessons: Lessons
    cuts: tuple[str, ...]
    """After which an exit is tried: six of the legal ones, from a fifth to four fifths of the network."""
    weights: str | None = None
    """Published ones that are refined; None: from nothing."""
    ablations: bool = False
    """Whether aggregation is tried without focal loss, too: then each of the two has something to compare it with."""


BACKBONES = (
    Backbone(
        "resnet20",
        lambda: cifar_resnet(20),
        Lessons(epochs=4, batch_size=128, learning_rate=1e-3, augment=True, anew=False),
        cuts=tuple(f"layer{unit}.relu_1" for unit in ("1.1", "1.2", "2.0", "2.1", "2.2", "3.0")),
        weights="resnet20-cifar10.safetensors",
        ablations=True,
    ),
    Backbone(
        "resnet56",
        lambda: cifar_resnet(56),
        Lessons(epochs=3, batch_size=128, learning_rate=1e-3, augment=True, anew=False),
        cuts=tuple(f"layer{unit}.relu_1" for unit in ("1.5", "1.8", "2.2", "2.5", "2.8", "3.2")),
        weights="resnet56-cifar10.safetensors",
    ),
    Backbone(
        "vgg16half",
        lambda: vgg16(32, 10, narrower=2),
        Lessons(epochs=14, batch_size=128, learning_rate=3e-3, augment=True),
        cuts=tuple(f"features.{layer}" for layer in (6, 13, 19, 23, 26, 33)),
    ),
)


@dataclass(frozen=True)
class Parts:
    """CIFAR-10 in three; no image is in two."""

    learning: Labelled
    held_back: Labelled
    """Temperatures, thresholds and plans are chosen on these. Test images, because the published weights have seen all
    training images: on those that were kept from the refinement ResNet-20 is right in 93%, on test images in 88%."""
    test: Labelled


def parts(quick: bool) -> Parts:
    """All images, or few where the question is only whether it runs."""
    data = cifar10(str(IMAGES))
    training, test = data.train(), data.held_out()
    if quick:
        return Parts(training.part(0, 512), test.part(0, 300), test.part(HELD_BACK, HELD_BACK + 300))
    return Parts(training.part(0, LEARNT), test.part(0, HELD_BACK), test.part(HELD_BACK, len(test)))


def taught(backbone: Backbone, images: Labelled, quick: bool) -> nn.Module:
    """The network after its lessons on `images`, in evaluation mode; from out/exits where it is there."""
    path = OUT / f"{backbone.name}{'-quick' if quick else ''}.safetensors"
    if path.exists():
        return load_weights(backbone.make(), path).eval()
    network = backbone.make()
    if backbone.weights:
        network = load_weights(network, SHARED / "models" / backbone.weights)
    with shown() as progress, bfloat16():
        train(network, PREPROCESS, lambda _: images, backbone.lessons, lambda d, t: progress(backbone.name, d, t))
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return network.eval()


def bfloat16() -> torch.autocast:
    """Where networks compute in bfloat16: a CPU with the instructions for it trains these 1.7 to 2 times quicker."""
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
