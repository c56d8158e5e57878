"""What exits learn from and are judged on: features of routes, with the targets that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blockstore.accuracy_model import Route
from blockstore.build.exits.confidence import Confidence, calibrated
from blockstore.build.exits.features import Variants, batches, shuffled
from blockstore.build.exits.learning import Batch, Learner
from blockstore.build.exits.seen import Floats, Seen
from blockstore.build.images import Labelled
from blockstore.build.tasks.base import Task
from blockstore.zoo.augment import augmented

LOOK: Final = 64
"""Images of a batch where nothing learns."""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Training images as an endless stream of batches."""

    variants: Variants
    images: npt.NDArray[np.uint8]
    targets: Tensor
    """int64 `[n]` classes, or what the original network gives for each image, float32 `[n, *output]`."""
    batch_size: int
    sampled: float
    """Share of the batches that come through a route drawn at random."""
    augment: bool

    def stream(self, wanted: Sequence[int], seed: int) -> Iterator[Batch]:
        """Batches with the outputs of the `wanted` blocks, without end."""
        draw = np.random.default_rng(seed)
        for positions in shuffled(len(self.images), self.batch_size, draw):
            route = self.variants.drawn(draw) if draw.random() < self.sampled else self.variants.original
            # A memory-mapped file is read-only: a copy of one batch.
            images = np.array(self.images[positions])
            if self.augment:
                images = augmented(images, draw)
            found = self.variants.walk(route, images, wanted)
            yield Batch({block: _tensor(array) for block, array in found.items()}, self.targets[positions])


def _tensor(array: npt.NDArray[np.float32]) -> Tensor:
    """Maps channels last: heads that aggregate learn twice as fast from them so."""
    tensor = torch.from_numpy(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def lessons(variants: Variants, training: Labelled, batch_size: int, sampled: float, augment: bool) -> Lessons:
    """Lessons by the labels of `training` where it has classes, else by what the original network says."""
    if isinstance(training.labels, np.ndarray):
        targets = torch.from_numpy(training.class_labels())
    else:
        targets = torch.from_numpy(full_outputs(variants, training.images))
        # What is shifted or mirrored is another image than the one that the original was asked about.
        augment = False
    return Lessons(variants, training.images, targets, batch_size, sampled, augment)


def full_outputs(variants: Variants, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the original network gives, `[n, *output]`."""
    last = len(variants.names) - 1
    parts = [variants.walk(variants.original, np.array(images[s]), {last})[last] for s in batches(len(images), LOOK)]
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What learners made of images along some routes."""

    logits: tuple[Tensor, ...]
    """Of each learner, `[n, *output]`."""
    full: Tensor
    """Of the network's end, `[n, *output]`."""

    def seen(self, worth: Callable[[Tensor], Floats], sure: Sequence[Confidence]) -> Seen:
        """As arrays, with the confidence function of each learner."""
        with torch.no_grad():
            confidence = [function(z).double().numpy() for function, z in zip(sure, self.logits, strict=True)]
        return Seen(np.array(confidence), np.array([worth(z) for z in (*self.logits, self.full)]))


def look(
    variants: Variants, learners: Sequence[Learner], images: npt.NDArray[np.uint8], route: Callable[[], Route]
) -> Look:
    """Let `learners` and the network's end look at `images`, each batch along the next `route`."""
    last = len(variants.names) - 1
    wanted = {last, *(block for learner in learners for block in learner.inputs)}
    logits: list[list[Tensor]] = [[] for _ in learners]
    full = []
    with torch.no_grad():
        for part in batches(len(images), LOOK):
            found = variants.walk(route(), np.array(images[part]), wanted)
            features = {block: torch.from_numpy(tensor) for block, tensor in found.items()}
            for rows, learner in zip(logits, learners, strict=True):
                rows.append(learner.logits(features).float())
            full.append(features[last])
    return Look(tuple(torch.cat(rows) for rows in logits), torch.cat(full))


class Judge:
    """Tells what answers to the images of `data` are worth, one by one, by the task."""

    def __init__(self, task: Task, variants: Variants, data: Labelled) -> None:
        outputs = full_outputs(variants, data.images)
        self._reference = task.reference((outputs[s] for s in batches(len(data), LOOK)), data)
        self._truth = torch.from_numpy(_classes(outputs, data))

    def worth(self, outputs: Tensor) -> Floats:
        """Worth of `outputs` `[n, *output]`, which answer the images in order: `[n]`, 0 to 1."""
        rows = outputs.numpy()
        return np.array([self._reference.tally(rows[i : i + 1], i).score().accuracy for i in range(len(rows))])

    def temperature(self, logits: Sequence[Tensor]) -> float:
        """Under which logits `[n, classes]`, one or several for each image, explain the labels best.

        Where there are no labels, the original's classes.
        """
        return calibrated(torch.cat(list(logits)), self._truth.repeat(len(logits)))


def _classes(outputs: npt.NDArray[np.float32], data: Labelled) -> npt.NDArray[np.int64]:
    if isinstance(data.labels, np.ndarray):
        return data.class_labels()
    found: npt.NDArray[np.int64] = outputs.reshape(len(outputs), -1).argmax(1)
    return found


def tempered(confidence: Confidence, temperature: float) -> Confidence:
    """The confidence of logits that are divided by a temperature first."""
    return lambda logits: confidence(logits / temperature)
