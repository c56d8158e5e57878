"""A network, its images and its blocks for tests of exits: small, with frames that are easy and others that are not.

The network has random convolutions and a last layer fitted to its features by least squares, so that it knows its
classes after milliseconds and is the same each time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from blockstore.blobs import digest_of
from blockstore.block import ORIGINAL, Model
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock, cut_at
from blockstore.build.exits.features import Variants
from blockstore.build.exits.material import Judge, lessons
from blockstore.build.exits.school import School, Subject
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.export import export
from blockstore.build.images import Labelled
from blockstore.build.progress import silent
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.teacher import Teacher
from blockstore.build.variants import Finished, keep
from blockstore.zoo.resnet import Unit
from tests.blockstore.build import networks

CLASSES = ("red", "green", "blue", "grey")
CUTS = ("3", "4", "5")
"""Three places for exits, with outputs of 8 x 12 x 12 and twice 48 x 6 x 6."""
HALF = "half"
"""A variant whose outputs are half as large."""


def pictures(count: int, seed: int) -> Labelled:
    """Noise with a tint: the stronger, the easier. The class is the colour."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    strength = draw.uniform(5, 150, (count, 1, 1, 1))
    tint = np.concatenate([np.eye(3), np.full((1, 3), 0.6)])[labels][:, None, None, :]
    images = 100 + strength * tint + draw.normal(0, 40, (count, 12, 12, 3)) + draw.normal(0, 12, (count, 1, 1, 3))
    return Labelled(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


class HeldOut:
    """A data provider."""

    classes = CLASSES

    def train(self) -> Labelled:
        return pictures(192, 1)

    def held_out(self) -> Labelled:
        return pictures(160, 3)


class Coloured(HeldOut):
    """One with images of their own for thresholds."""

    def validation(self) -> Labelled:
        return pictures(160, 2)


class Unlabelled(Coloured):
    """The same without a label."""

    def train(self) -> Labelled:
        return super().train().unlabelled()

    def validation(self) -> Labelled:
        return super().validation().unlabelled()

    def held_out(self) -> Labelled:
        return super().held_out().unlabelled()


@cache
def _fitted() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        units = (Unit(8, 8, 1), Unit(8, 48, 2), Unit(48, 48, 1), Unit(48, 48, 1))
        body, last = (*stem, *units, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(48, len(CLASSES))
    found = nn.Sequential(*body, last).eval()
    known = pictures(400, 0)
    with torch.no_grad():
        features: Tensor = nn.Sequential(*body)(networks.PREPROCESS(torch.from_numpy(known.images)))
        features = torch.cat([features, torch.ones(len(features), 1)], 1).double()
        wanted = 6 * torch.eye(len(CLASSES), dtype=torch.float64)[torch.from_numpy(known.class_labels())]
        squares = features.T @ features + 0.1 * torch.eye(features.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(squares, features.T @ wanted).float()
        last.weight.copy_(solved[:-1].T)
        last.bias.copy_(solved[-1])
    return found


def network() -> nn.Module:
    """A fresh copy of the network: joint training changes it."""
    return copy.deepcopy(_fitted())


def blocks() -> Sequence[CutBlock]:
    """The network, cut behind its residual units but the last."""
    return cut_at(networks.traced(network()), CUTS).blocks


def finished(folder: Path, of: Sequence[CutBlock], halved: Sequence[int] = ()) -> list[Finished]:
    """The original of each block, and behind the originals of those numbers a variant called `HALF`."""
    teacher, work = Teacher(of), Work(folder)
    made = []
    for block in of:
        inputs, _ = next(teacher.lessons(block.index, pictures(8, 5).images, 8))
        made.append(keep(work, block.index, ORIGINAL, ORIGINAL, export(block.module, block.input, inputs), {}))
        if block.index in halved:
            module = copy.deepcopy(block.module)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(0.5)
            made.append(keep(work, block.index, HALF, HALF, export(module, block.input, inputs), {}))
    return made


def subject(folder: Path, halved: Sequence[int] = (), task: Task | None = None) -> Subject:
    """The network with its blocks and images."""
    of, data = blocks(), Coloured()
    output = of[-1].output
    made = finished(folder, of, halved)
    return Subject(of, made, output, task or Classification(), data.train(), data.validation(), data.held_out())


def school(about: Subject, settings: ExitSettings, seed: int = 0) -> School:
    """Where heads of `about` learn."""
    variants = Variants.load(about.finished, threads=1)
    taught = lessons(variants, about.training, settings.batch_size, settings.sampled, settings.augment)
    return School(about, settings, variants, taught, Judge(about.task, variants, about.validation), seed, silent)


@dataclass(eq=False)
class Blobs:
    """A `Sink` in memory."""

    kept: dict[str, bytes] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)

    def put_blob(self, data: bytes) -> str:
        self.kept[digest_of(data)] = data
        return digest_of(data)

    def put_model(self, model: Model) -> None:
        self.models.append(model)

    def path(self, digest: str) -> Path:
        raise NotImplementedError("exits never read what they have put")
