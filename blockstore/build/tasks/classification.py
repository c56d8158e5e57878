"""Classification: the class of the largest output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blockstore.build.images import Labelled
from blockstore.build.tasks import base
from blockstore.errors import CannotBuild


@dataclass(frozen=True, slots=True)
class Classification:
    """Accuracy is top-1 where there are labels, else agreement with the original's class.

    Outputs are float32 `[batch, classes]`. The reference keeps 8 bytes an image.
    """

    key: str = "classification"

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:
        """Labels are classes that have a name."""
        base.class_labels(data, classes)

    def reference(self, originals: Iterable[base.Outputs], data: Labelled) -> ClassReference:
        """The original's class of each image."""
        said = np.concatenate([_classes(outputs) for outputs in originals])
        return ClassReference(said, None if data.labels is None else data.class_labels())


@dataclass(frozen=True, slots=True, eq=False)
class ClassReference:
    """The original's classes and, where there are any, the true ones: int64 `[n]`."""

    said: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64] | None

    def tally(self, outputs: base.Outputs, first: int) -> ClassTally:
        """Compare the class of the largest output."""
        found = _classes(outputs)
        images = slice(first, first + len(found))
        hits = None if self.truth is None else int((found == self.truth[images]).sum())
        return ClassTally(len(found), int((found == self.said[images]).sum()), hits)


@dataclass(frozen=True, slots=True)
class ClassTally:
    """How many images a route labels as the original does and as the labels say (None: there are none)."""

    images: int
    agreements: int
    hits: int | None

    def __add__(self, other: ClassTally) -> ClassTally:
        hits = None if self.hits is None or other.hits is None else self.hits + other.hits
        return ClassTally(self.images + other.images, self.agreements + other.agreements, hits)

    def score(self) -> base.Score:
        """`agreement` and, with labels, `top1`."""
        agreement = self.agreements / self.images
        if self.hits is None:
            return base.Score(agreement, {"agreement": agreement})
        return base.Score(self.hits / self.images, {"agreement": agreement, "top1": self.hits / self.images})


def _classes(outputs: base.Outputs) -> npt.NDArray[np.int64]:
    scores = base.single(outputs, "classification")
    if scores.ndim != 2:
        raise CannotBuild(f"the network gives {list(scores.shape)}, classification needs [batch, classes]")
    classes: npt.NDArray[np.int64] = np.argmax(scores, axis=1)
    return classes
