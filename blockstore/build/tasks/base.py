"""What a task is: it turns what a route gives for the held-out images into one accuracy and named further figures.

    task.reference(outputs of the original, data) -> Reference     once for the data
    reference.tally(outputs of a route, first image) -> Tally      for each route and batch of images
    tally + tally -> Tally                                         over batches, and over slices of the images
    tally.score() -> Score                                         at the end

Outputs are not kept: a tally is a few numbers (detection: 12 bytes for each box found). A reference keeps what routes
are compared with, once for all routes; each task states how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild

Array = npt.NDArray[np.generic]
Outputs = Array | tuple[Array, ...]
"""What the last block gives for a batch: `[batch, ...]`, or a tuple of such where a model has several outputs."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a route is worth."""

    accuracy: float
    """0 to 1: the figure that apps set floors for."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Further figures by name, for the report."""


class Tally(Protocol):
    """What a route has shown on some of the images; an immutable value."""

    def __add__(self, other: Self) -> Self:
        """The tally of the images of both."""
        ...

    def score(self) -> Score:
        """The figures of the images so far, of which there is at least one."""
        ...


class Reference(Protocol):
    """What routes are compared with: the labels, and what the original network says of each image."""

    def tally(self, outputs: Outputs, first: int) -> Tally:
        """What a route's `outputs` for the images `first`, `first + 1`, ... are worth."""
        ...


class Task(Protocol):
    """How the accuracy of a network is measured."""

    @property
    def key(self) -> str:
        """Two tasks of the same key give the same scores."""
        ...

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:
        """Refuse labels that this task cannot use: `CannotBuild`. Done before hours of work."""
        ...

    def reference(self, originals: Iterable[Outputs], data: Labelled) -> Reference:
        """Take in what the original network gives for `data`, batch after batch in order.

        Raises `CannotBuild` where those outputs are not of this task.
        """
        ...


def single(outputs: Outputs, task: str) -> Array:
    """`outputs` of a network that has one; else `CannotBuild`."""
    if isinstance(outputs, tuple):
        raise CannotBuild(
            f"the network has {len(outputs)} outputs, {task} looks at one: use detection or your own metric"
        )
    return outputs


def class_labels(data: Labelled, classes: tuple[str, ...]) -> None:
    """Refuse labels that are not classes which have a name; images without labels pass."""
    if data.labels is None:
        return
    labels = data.class_labels()
    if not classes:
        raise CannotBuild("the held-out images have labels and the data names no classes: give `classes`, or no labels")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise CannotBuild(
            f"the held-out labels are {labels.dtype} from {labels.min()} to {labels.max()}, "
            f"for {len(classes)} classes they are integers from 0 to {len(classes) - 1}"
        )
