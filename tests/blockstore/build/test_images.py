"""What a user's own data provider may get wrong, and what is said then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import Labelled, held_out, training
from blockstore.errors import CannotBuild

FRAMES = TensorSpec("uint8", (4, 4, 3))


class Provider:
    """Three classes; `given` is what both methods give."""

    classes = ("a", "b", "c")

    def __init__(self, given: Any) -> None:
        self._given = given

    def train(self) -> Any:
        return self.held_out()

    def held_out(self) -> Any:
        if isinstance(self._given, Exception):
            raise self._given
        return self._given


def labelled(*labels: float, dtype: Any = np.int64, side: int = 4) -> Labelled:
    return Labelled(np.zeros((len(labels), side, side, 3), np.uint8), np.array(labels, dtype))


def test_what_fits_is_taken() -> None:
    given = labelled(0, 2, 1)
    assert held_out(Provider(given), FRAMES) is given
    assert training(Provider(given), FRAMES) is given


def test_training_images_may_be_of_another_size_and_need_no_labels_that_fit() -> None:
    given = labelled(9, 9, side=8)
    assert training(Provider(given), FRAMES) is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros(1), np.zeros(1)), r"held_out\(\) of the data gives a tuple, it needs arrays `images` and `labels`"),
        (None, "gives a NoneType"),
        (OSError("disk on fire"), r"held_out\(\) of the data failed: OSError: disk on fire"),
        (CannotBuild("no such folder"), "^no such folder$"),
        (labelled(0, 3), "labels are int64 from 0 to 3, for 3 classes they are integers from 0 to 2"),
        (labelled(-1, 2), "from -1 to 2"),
        (labelled(0.0, 1.0, dtype=np.float64), "labels are float64"),
        (labelled(0, side=8), r"held-out images are uint8\[8x8x3\]"),
        (labelled(), "0 held-out images with 0 labels"),
    ],
)
def test_what_does_not_fit_is_said(given: Any, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        held_out(Provider(given), FRAMES)
