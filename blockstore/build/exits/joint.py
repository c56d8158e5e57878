"""Joint training: the network and its exits learn together, by the weighted sum of their losses; an option.

L = mean over the data of sum_i w_i loss_i (BranchyNet, section III-A), where the network's own end is one more exit, of
weight 1. What comes of it is a new backbone: the weights of the blocks change before anything is made of them, so its
variants and its exits fit it, and blocks of the old one do not. The heads that helped are thrown away; exits are taught
anew on routes of the store, as without joint training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.craft import computing
from blockstore.build.cut import CutBlock
from blockstore.build.exits.features import shuffled, steps
from blockstore.build.exits.learning import Backbone, Batch, Pace, teach
from blockstore.build.exits.school import learners_of
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.images import Labelled
from blockstore.build.kinds.base import Declined
from blockstore.build.layout import channels_last
from blockstore.build.progress import Progress
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.errors import CannotBuild
from blockstore.zoo.augment import augmented

_FILE: Final = "joint.safetensors"


def check(settings: ExitSettings, task: Task, training: Labelled) -> None:
    """Refuse, before hours of work, joint training without classes to learn from."""
    if not settings.joint:
        return
    if not isinstance(task, Classification):
        raise CannotBuild(f"joint training of exits takes labels of classes; the task is {task.key}")
    training.class_labels()


def train_jointly(
    blocks: Sequence[CutBlock],
    output: TensorSpec,
    settings: ExitSettings,
    training: Labelled,
    threads: int,
    seed: int,
    work: Work,
    progress: Progress,
) -> None:
    """Change the weights of `blocks`, in place, to those of the new backbone. Raises `CannotBuild`."""
    kept = work.get(_FILE)
    if kept is None:
        with computing(threads):
            try:
                _train(blocks, output, settings, training, seed, progress)
            except Declined as reason:
                raise CannotBuild(str(reason)) from reason
        work.put(_FILE, safetensors.torch.save({name: t.contiguous() for name, t in _state(blocks).items()}))
        return
    tensors = safetensors.torch.load(kept)
    with torch.no_grad():
        for name, tensor in _state(blocks).items():
            tensor.copy_(tensors[name])


def _train(
    blocks: Sequence[CutBlock],
    output: TensorSpec,
    settings: ExitSettings,
    training: Labelled,
    seed: int,
    progress: Progress,
) -> None:
    learners = learners_of(blocks, output, settings, Classification(), seed)
    parameters = [p for b in blocks for p in channels_last(b.module).requires_grad_(True).parameters()]
    last = len(blocks) - 1

    def own_loss(batch: Batch) -> Tensor:
        return functional.cross_entropy(batch.features[last], batch.target)

    total = settings.joint * steps(1, len(training), settings.batch_size)
    pace = Pace(total, settings.learning_rate, partial(progress, "train jointly"))
    teach(learners, _stream(blocks, settings, training, seed), pace, Backbone(parameters, own_loss))
    for block in blocks:
        block.module.requires_grad_(False)


def _stream(blocks: Sequence[CutBlock], settings: ExitSettings, training: Labelled, seed: int) -> Iterator[Batch]:
    """Batches whose features remember how they came about."""
    draw, labels = np.random.default_rng(seed), torch.from_numpy(training.class_labels())
    for positions in shuffled(len(training), settings.batch_size, draw):
        images = np.array(training.images[positions])
        x: Tensor = torch.from_numpy(augmented(images, draw) if settings.augment else images)
        features = {}
        for block in blocks:
            x = features[block.index] = block.module(x)
        yield Batch(features, labels[positions])


def _state(blocks: Sequence[CutBlock]) -> dict[str, Tensor]:
    """Every weight, each once."""
    return {f"{b.index}/{name}": p.detach() for b in blocks for name, p in b.module.named_parameters()}
