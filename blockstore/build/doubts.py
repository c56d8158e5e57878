"""What a reader should doubt of a build's figures: too few images to measure on, or the wrong ones, or bad predictions.

Nothing of it stops a build; it is said where the figures are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.accuracy_model import AccuracyModel
from blockstore.build.images import Labelled

FEW_IMAGES: Final = 100
"""Of so many, an accuracy of one half is known to 5 points (one standard error)."""
LARGE_ERROR: Final = 0.05
"""Of predicted accuracies: the optimizer would prefer one variant to another by chance."""


def doubts(training: Labelled, held_out: Labelled, known: AccuracyModel) -> Iterator[str]:
    """A sentence without a full stop for each."""
    count = len(held_out)
    if held_out.labels is None:
        yield "the held-out images have no labels: accuracy is likeness to what the original network gives"
    if seen := _in_both(training.images, held_out.images):
        yield f"{seen} of {count} held-out images are among the training images: accuracy looks better than it is"
    if count < FEW_IMAGES:
        points = 50 / math.sqrt(count)
        yield f"{count} held-out images tell an accuracy to about {points:.0f} points: give {FEW_IMAGES} or more"
    if known.error is not None and known.error > LARGE_ERROR:
        yield (
            f"predicted accuracy is off by {100 * known.error:.1f} points on average, too much to choose by: measure "
            "more combinations (--fit-routes), or on more held-out images"
        )


def _in_both(training: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8]) -> int:
    """How many of `held_out` are in `training` too, pixel for pixel."""
    known = {_digest(image) for image in training}
    return sum(_digest(image) in known for image in held_out)


def _digest(image: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
