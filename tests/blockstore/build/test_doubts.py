"""What a reader should doubt of a build's figures, said in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blockstore.accuracy_model import LINEAR, AccuracyModel
from blockstore.build.doubts import doubts
from blockstore.build.images import Labelled

KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 0.0, ((0.0,),), (), 0.01, ())


def labelled(count: int, first: int = 0) -> Labelled:
    """Images that all differ."""
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (
        np.arange(first, first + count) % 256,
        np.arange(first, first + count) // 256,
    )
    return Labelled(images, np.zeros(count, np.int64))


def test_nothing_is_said_of_many_labelled_images_that_training_has_not_seen() -> None:
    assert list(doubts(labelled(300), labelled(100, first=300), KNOWN)) == []


def test_images_that_were_trained_on_are_counted() -> None:
    (said,) = doubts(labelled(300), labelled(200, first=200), KNOWN)
    assert said.startswith("100 of 200 held-out images are among the training images")


def test_few_images_without_labels_and_large_errors_are_named() -> None:
    held_out = Labelled(labelled(25, first=300).images)
    unlabelled, few, large = doubts(labelled(300), held_out, replace(KNOWN, error=0.334))
    assert "accuracy is likeness to what the original network gives" in unlabelled
    assert few.startswith("25 held-out images tell an accuracy to about 10 points")
    assert large.startswith("predicted accuracy is off by 33.4 points")
