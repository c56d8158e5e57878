"""Stores in which only the cost of blocks matters: variants that were never trained, made in seconds.

The blobs are those that a build makes, with the shapes, operators and sizes of a real store, so they take the time and
memory that its blobs take. Weights and images are random, nothing is retrained, and accuracies mean nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from benchmarks.storebuild import SHARED
from blockstore.block import TensorSpec
from blockstore.build import pipeline
from blockstore.build.images import Labelled
from blockstore.build.onnximport.importer import import_onnx
from blockstore.build.progress import silent
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from blockstore.zoo import (
    allcnn,
    digit_networks,
    mobilenetv2,
    nin,
    resnet,
    resnet18,
    vgg,
)
from blockstore.zoo.preprocess import Preprocess

TRAINING_IMAGES = 16
HELD_OUT_IMAGES = 4
MEAN, STD = 0.45, 0.225
VARIANTS: Final = ("prune:0.25", "prune:0.5", "prune:0.75", "skip:1", "int8", "prune:0.5+int8", "fp16")
"""Every kind that a build offers by default, and half precision."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One network of the zoo."""

    network: Callable[[], nn.Module]
    side: int
    """Of its square frames."""
    channels: int
    classes: int
    blocks: int
    task: str = "classification"
    needs: Path | None = None
    """A file that it is made from."""


MODELS = SHARED / "models"
FASTESTDET = MODELS / "fastestdet-coco.onnx"
MOBILEFACENET = MODELS / "mobilefacenet.onnx"
SUBJECTS: Final[Mapping[str, Subject]] = {
    "resnet20": Subject(partial(resnet.cifar_resnet, 20), 32, 3, 10, 8),
    "resnet56": Subject(partial(resnet.cifar_resnet, 56), 32, 3, 10, 10),
    "mobilenetv2": Subject(mobilenetv2.mobilenetv2, 224, 3, 1001, 8),
    "vgg16half": Subject(partial(vgg.vgg16, 32, 10, 2), 32, 3, 10, 6),
    "nin": Subject(nin.nin, 32, 3, 10, 5),
    "allcnn": Subject(allcnn.all_cnn_c, 32, 3, 10, 5),
    "resnet18": Subject(resnet18.resnet18, 224, 3, 1000, 8),
    "digits-depthwise": Subject(digit_networks.depthwise, 144, 1, 10, 6),
    "digits-plain": Subject(digit_networks.plain, 144, 1, 10, 6),
    "digits-residual": Subject(digit_networks.residual, 144, 1, 10, 4),
    "fastestdet": Subject(
        partial(import_onnx, FASTESTDET),
        *(352, 3, 80, 5),
        task="detection?decode=blockstore.zoo.fastestdet:boxes",
        needs=FASTESTDET,
    ),
    "mobilefacenet": Subject(partial(import_onnx, MOBILEFACENET), 112, 3, 10, 5, "embedding", MOBILEFACENET),
}
"""By name; the last two need ../shared beside the checkout."""


def available() -> tuple[str, ...]:
    """Names of the networks whose files are here."""
    return tuple(name for name, subject in SUBJECTS.items() if subject.needs is None or subject.needs.is_file())


def cost_store(folder: Path, names: Iterable[str], variants: tuple[str, ...] = VARIANTS) -> Path:
    """The store at `folder`, with the models called `names`; those that it has already are kept as they are."""
    with Store.open(folder, create=True) as store, tempfile.TemporaryDirectory(prefix="cost-store-") as work:
        for name in names:
            if name not in store.models():
                _add(store, name, SUBJECTS[name], variants, Path(work))
    return folder


def originals(given: Path, names: Iterable[str], folder: Path) -> Path:
    """A store at `folder` of the original blocks alone of models of the store at `given`."""
    with Store.open(given) as source, Store.open(folder, create=True) as made:
        for name in names:
            model = source.model(name)
            blocks = tuple(replace(block, variants=block.variants[:1]) for block in model.blocks)
            for block in blocks:
                for artifact in block.variants[0].artifacts:
                    made.put_blob(source.path(artifact.digest).read_bytes())
            made.put_model(replace(model, blocks=blocks, accuracy_model=None))
    return folder


def preprocess_of(subject: Subject) -> Preprocess:
    """What stands before a subject's network in its store."""
    return Preprocess((MEAN,) * subject.channels, (STD,) * subject.channels)


def _add(store: Store, name: str, subject: Subject, variants: tuple[str, ...], work: Path) -> None:
    """Build one model with nothing learnt; the seed makes its random weights the same each time."""
    torch.manual_seed(0)
    settings = BuildSettings(
        name=name,
        input=TensorSpec("uint8", (subject.side, subject.side, subject.channels)),
        mean=(MEAN,) * subject.channels,
        std=(STD,) * subject.channels,
        blocks=subject.blocks,
        variants=variants,
        epochs=0,
        batch_size=4,
        validation_images=HELD_OUT_IMAGES,
        calibration_images=TRAINING_IMAGES // 2,
        fit_routes=0,
        check_routes=0,
        task=subject.task,
    )
    pipeline.build(subject.network().eval(), _Noise(subject), settings, store, work, silent)


class _Noise:
    """Random images; nobody knows what they show."""

    def __init__(self, subject: Subject) -> None:
        self.classes = tuple(map(str, range(subject.classes)))
        self._shape = (subject.side, subject.side, subject.channels)

    def train(self) -> Labelled:
        """What a kind calibrates on."""
        return self._images(TRAINING_IMAGES, seed=0)

    def held_out(self) -> Labelled:
        """What an accuracy that means nothing is measured on."""
        return self._images(HELD_OUT_IMAGES, seed=1)

    def _images(self, count: int, seed: int) -> Labelled:
        draw = np.random.default_rng(seed)
        return Labelled(draw.integers(0, 256, (count, *self._shape), np.uint8))
