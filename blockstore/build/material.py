"""What kinds of variants may look at, made of the original network and its training images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, reduce
from operator import add

import numpy as np
from torch import Tensor, fx

from blockstore.block import TensorSpec
from blockstore.build.images import Labelled
from blockstore.build.kinds.base import Declined, Latencies, Material
from blockstore.build.retrain import Split
from blockstore.build.tasks.base import Outputs, Reference, Task
from blockstore.build.teacher import Images, Teacher
from blockstore.errors import CannotBuild
from blockstore.outputs import unpack


class Library:
    """Makes the `Material` of each block; one for all blocks of a process."""

    def __init__(
        self,
        teacher: Teacher,
        images: Images,
        split: Split,
        task: Task,
        outputs: tuple[TensorSpec, ...],
        latencies_ms: Latencies,
        batch_size: int,
    ) -> None:
        """`outputs` are those of the network, of which the last block may give several side by side."""
        self._teacher = teacher
        # In memory: some hundred images at most.
        self._calibration = images[split.calibration]
        self._validation = images[split.validation]
        self._task = task
        self._specs = outputs
        self._latencies_ms = latencies_ms
        self._batch_size = batch_size

    def material(self, block: int, width_multiple: int, seed: int) -> Material:
        """What a kind gets for `block`."""
        return Material(
            batches=lambda: self._teacher.lessons(block, self._calibration, self._batch_size),
            score=lambda module: self._score(block, module),
            latencies_ms=self._latencies_ms,
            width_multiple=width_multiple,
            seed=seed,
        )

    def sample(self, block: int, count: int, frames: TensorSpec) -> Tensor:
        """What `block` gets for `count` frames of the size that is served: calibration images where they have it."""
        images = self._calibration[:count]
        if images.shape[1:] != frames.shape:
            images = np.random.default_rng(0).integers(0, 256, (count, *frames.shape), np.uint8)
        ((x, _),) = self._teacher.lessons(block, images, count)
        return x

    def _score(self, block: int, module: fx.GraphModule) -> float:
        """Agreement with the original network where `module` stands for `block`; `Declined` where none can be told."""
        try:
            tallies = [self._reference.tally(outputs, first) for first, outputs in self._outputs(block, module)]
            return reduce(add, tallies).score().accuracy
        except CannotBuild as error:
            # Of this kind only: with the labels of the held-out images the task may well give an accuracy.
            raise Declined(
                f"it is chosen by accuracy on training images, whose labels are unused, and the task cannot score "
                f"unlabelled images: {error}"
            ) from error

    @cached_property
    def _reference(self) -> Reference:
        # Training images need not have labels: the original network's own answers are the truth here.
        data = Labelled(self._validation, None)
        return self._task.reference((outputs for _, outputs in self._outputs(0, None)), data)

    def _outputs(self, block: int, module: fx.GraphModule | None) -> Iterator[tuple[int, Outputs]]:
        """First image and the network's outputs for each batch, with `module`, if any, in place of `block`."""
        first = 0
        for x, output in self._teacher.lessons(block, self._validation, self._batch_size):
            given = self._teacher.finish(block, output if module is None else module(x).detach()).numpy()
            yield first, unpack(given, self._specs) if len(self._specs) > 1 else given
            first += len(x)
