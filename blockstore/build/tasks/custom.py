"""The user's own metric: any function of what a route and the original give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from blockstore.build.images import Labelled, Labels
from blockstore.build.tasks import base
from blockstore.build.tasks.functions import NamedFunction
from blockstore.errors import CannotBuild


@dataclass(frozen=True, slots=True)
class Custom:
    """Accuracy is `metric(outputs, original outputs, labels)`, a number from 0 to 1, averaged over the images.

    It is called for one batch of images at a time, with the labels of that batch (None where there are none), and its
    values are weighted by the number of images: it has to be a mean over images. Where it makes no accuracy of outputs
    that are not finite, as a ruined route may give, that is 0. The reference keeps the original's outputs for all
    images.
    """

    metric: NamedFunction

    @property
    def key(self) -> str:
        """Name and source of the metric."""
        return f"custom?metric={self.metric.key}"

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:
        """Any labels will do: what they mean is the metric's business."""

    def reference(self, originals: Iterable[base.Outputs], data: Labelled) -> CustomReference:
        """The original's outputs."""
        batches = list(originals)
        if isinstance(batches[0], tuple):
            return CustomReference(self.metric, tuple(map(np.concatenate, zip(*batches, strict=True))), data)
        return CustomReference(self.metric, np.concatenate(batches), data)


@dataclass(frozen=True, slots=True, eq=False)
class CustomReference:
    """The original's outputs for all images of `data`."""

    metric: NamedFunction
    originals: base.Outputs
    data: Labelled

    def tally(self, outputs: base.Outputs, first: int) -> CustomTally:
        """Ask the metric; `CannotBuild` where it fails on finite outputs or does not give a number from 0 to 1."""
        count = len(outputs[0] if isinstance(outputs, tuple) else outputs)
        images = slice(first, first + count)
        originals = self.originals
        same = tuple(o[images] for o in originals) if isinstance(originals, tuple) else originals[images]
        try:
            value = _accuracy(self.metric, outputs, same, self.data.part(first, first + count).labels)
        except CannotBuild:
            if _are_finite(outputs):
                raise
            value = 0.0
        return CustomTally(count, count * value)


@dataclass(frozen=True, slots=True)
class CustomTally:
    """The metric's values, each times its number of images."""

    images: int
    total: float

    def __add__(self, other: CustomTally) -> CustomTally:
        return CustomTally(self.images + other.images, self.total + other.total)

    def score(self) -> base.Score:
        """The mean; there are no further figures."""
        return base.Score(self.total / self.images)


def _accuracy(metric: NamedFunction, outputs: base.Outputs, originals: base.Outputs, labels: Labels) -> float:
    value = metric(outputs, originals, labels)
    # Not a number is not between two.
    if not isinstance(value, int | float | np.floating) or not 0 <= value <= 1:
        images = len(outputs[0] if isinstance(outputs, tuple) else outputs)
        raise CannotBuild(f"{metric.name} gave {value!r} for {images} images, an accuracy is a number from 0 to 1")
    return float(value)


def _are_finite(outputs: base.Outputs) -> bool:
    return all(bool(np.isfinite(part).all()) for part in (outputs if isinstance(outputs, tuple) else (outputs,)))
