"""Supervised training of a small classifier from nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.build.images import Labelled
from blockstore.build.layout import channels_last
from blockstore.zoo.preprocess import Preprocess

_WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Lessons:
    """How a network is trained.

    `stages` are pairs of a reduction and a number of epochs. A convolutional network with global pooling can look at
    frames reduced to a quarter of their height and width first, at a sixteenth of the cost, and adapt to the full
    size in the last epochs.
    """

    stages: tuple[tuple[int, int], ...] = ((4, 8), (2, 4), (1, 1))
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 0


def train(
    network: nn.Module,
    preprocess: Preprocess,
    data: Labelled,
    lessons: Lessons,
    progress: Callable[[int, int], None],
) -> nn.Module:
    """`network` after AdamW on cross entropy, in evaluation mode; reproducible by the seed on one machine.

    The learning rate rises over the first tenth of the steps and falls on a cosine.
    """
    torch.manual_seed(lessons.seed)
    network = channels_last(_reset(network)).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=lessons.learning_rate, weight_decay=1e-2)
    steps = list(_steps(len(data), lessons))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / len(steps)))
    for done, (reduction, batch) in enumerate(steps, start=1):
        frames = functional.avg_pool2d(preprocess(torch.from_numpy(data.images[batch])), reduction)
        _loss(network, frames, torch.from_numpy(data.labels[batch])).backward()  # type: ignore[no-untyped-call]  # as torch has it
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        progress(done, len(steps))
    return network.eval()


def _steps(images: int, lessons: Lessons) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Reduction and images of every batch; an epoch's last images that fill no batch are left out."""
    order = np.random.default_rng(lessons.seed)
    batches = images // lessons.batch_size
    for reduction, epochs in lessons.stages:
        for _ in range(epochs):
            shuffled = order.permutation(images)[: batches * lessons.batch_size]
            for batch in shuffled.reshape(batches, lessons.batch_size):
                yield reduction, batch


def _rate(progress: float) -> float:
    """Share of the full learning rate when the share `progress` of the steps is done."""
    return min(progress / _WARM_UP, 0.01 + 0.5 * (1 + math.cos(math.pi * progress)))


def _loss(network: nn.Module, frames: Tensor, labels: Tensor) -> Tensor:
    logits = network(frames.contiguous(memory_format=torch.channels_last))
    return functional.cross_entropy(logits, labels, label_smoothing=0.05)


def _reset(network: nn.Module) -> nn.Module:
    """Weights drawn anew, so that they depend on the seed alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
    return network
