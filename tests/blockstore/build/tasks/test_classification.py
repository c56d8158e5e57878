"""Classification: top-1 where there are labels, else agreement with the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.build.images import Labelled
from blockstore.build.tasks.classification import Classification
from blockstore.errors import CannotBuild

CLASSES = ("a", "b", "c")
IMAGES = np.zeros((4, 2, 2, 3), np.uint8)


def saying(*classes: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_with_labels_accuracy_is_top1_and_agreement_is_kept_beside_it() -> None:
    data = Labelled(IMAGES, np.array([0, 1, 2, 0]))
    reference = Classification().reference([saying(0, 1), saying(2, 2)], data)
    score = (reference.tally(saying(0, 0), 0) + reference.tally(saying(2, 2), 2)).score()
    assert score.accuracy == 0.5
    assert score.figures == {"agreement": 0.75, "top1": 0.5}


def test_without_labels_accuracy_is_agreement_with_the_original() -> None:
    reference = Classification().reference([saying(0, 1, 2, 2)], Labelled(IMAGES))
    score = reference.tally(saying(0, 1, 1, 2), 0).score()
    assert score.accuracy == 0.75
    assert score.figures == {"agreement": 0.75}
    assert reference.tally(saying(0, 1, 2, 2), 0).score().accuracy == 1.0


def test_labels_that_fit_are_taken() -> None:
    Classification().check(Labelled(IMAGES), ())
    Classification().check(Labelled(IMAGES, np.array([0, 2, 1, 0])), CLASSES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 3]), "labels are int64 from 0 to 3, for 3 classes they are integers from 0 to 2"),
        (np.array([-1, 1, 2, 2]), "from -1 to 2"),
        ([np.zeros((0, 5), np.float32)] * 4, "a class for each of them is needed"),
    ],
)
def test_labels_without_a_class_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        Classification().check(Labelled(IMAGES, labels), CLASSES)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((saying(0), saying(1)), "the network has 2 outputs, classification looks at one"),
        (np.zeros((4, 3, 2, 2), np.float32), r"gives \[4, 3, 2, 2\], classification needs \[batch, classes\]"),
    ],
)
def test_outputs_of_another_kind_of_network_are_refused(outputs: Any, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        Classification().reference([outputs], Labelled(IMAGES))
