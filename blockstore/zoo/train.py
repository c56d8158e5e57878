"""Supervised training of a small network, from nothing or from the weights that it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.build.images import Labelled
from blockstore.build.layout import channels_last
from blockstore.zoo.augment import augmented
from blockstore.zoo.preprocess import Preprocess

Loss = Callable[[Any, Labelled], Tensor]
"""What a network gave for a batch, and the batch with its labels, to the number that training makes smaller."""

_WARM_UP: Final = 0.1


@dataclass(frozen=True, slots=True)
class Lessons:
    """How a network is trained."""

    epochs: int
    batch_size: int = 8
    learning_rate: float = 4e-3
    seed: int = 0
    augment: bool = False
    """Shift and mirror the images (see `augment`): for photographs whose labels are classes."""
    anew: bool = True
    """Begin with weights drawn by the seed; else with those that the network has."""


def classification_loss(logits: Tensor, batch: Labelled) -> Tensor:
    """Cross entropy with 5% of label smoothing."""
    return functional.cross_entropy(logits, torch.from_numpy(batch.class_labels()), label_smoothing=0.05)


def train(
    network: nn.Module,
    preprocess: Preprocess,
    images: Callable[[int], Labelled],
    lessons: Lessons,
    progress: Callable[[int, int], None],
    loss: Loss = classification_loss,
) -> nn.Module:
    """`network` after AdamW on `loss`, in evaluation mode; reproducible by the seed on one machine.

    `images` gives those of an epoch, 0, 1, ... The learning rate rises over the first tenth of the steps and falls on
    a cosine.
    """
    torch.manual_seed(lessons.seed)
    network = channels_last(_reset(network) if lessons.anew else network).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=lessons.learning_rate, weight_decay=1e-2)
    order = np.random.default_rng(lessons.seed)
    for epoch in range(lessons.epochs):
        data = images(epoch)
        # Images that fill no batch wait for another epoch: batch normalisation needs whole ones.
        batches = order.permutation(len(data))[: len(data) // lessons.batch_size * lessons.batch_size]
        for done, batch in enumerate(batches.reshape(-1, lessons.batch_size)):
            step, steps = epoch * len(data) + done * lessons.batch_size, lessons.epochs * len(data)
            optimiser.param_groups[0]["lr"] = lessons.learning_rate * _rate(step / steps)
            chosen = _chosen(data, batch)
            frames = augmented(chosen.images, order) if lessons.augment else chosen.images
            error = loss(network(preprocess(torch.from_numpy(frames))), chosen)
            optimiser.zero_grad(set_to_none=True)
            error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            progress(step + lessons.batch_size, steps)
    return network.eval()


def _chosen(data: Labelled, batch: npt.NDArray[np.int64]) -> Labelled:
    if data.labels is None:
        return Labelled(data.images[batch])
    labels = data.labels[batch] if isinstance(data.labels, np.ndarray) else [data.labels[i] for i in batch]
    return Labelled(data.images[batch], labels)


def _rate(progress: float) -> float:
    """Share of the full learning rate when the share `progress` of the steps is done."""
    return min(progress / _WARM_UP, 0.01 + 0.5 * (1 + math.cos(math.pi * progress)))


def _reset(network: nn.Module) -> nn.Module:
    """Weights drawn anew, so that they depend on the seed alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
    return network
