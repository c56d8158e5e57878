"""What a user's own data provider may get wrong, and what is said then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import Labelled, held_out, training
from blockstore.errors import CannotBuild

FRAMES = TensorSpec("uint8", (4, 4, 3))
BOX = np.array([[0, 0, 2, 2, 1]], np.float32)


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


def images(count: int, side: int = 4) -> Any:
    return np.zeros((count, side, side, 3), np.uint8)


@pytest.mark.parametrize("labels", [np.array([0, 9]), None, [BOX, BOX[:0]], (BOX, BOX)])
def test_what_fits_is_taken(labels: Any) -> None:
    given = Labelled(images(2), labels)
    assert held_out(Provider(given), FRAMES) is given
    assert training(Provider(given), FRAMES) is given


def test_training_images_may_be_of_another_size() -> None:
    given = Labelled(images(2, side=8), np.array([9, 9]))
    assert training(Provider(given), FRAMES) is given


def test_training_images_of_other_channels_are_refused() -> None:
    with pytest.raises(CannotBuild, match=r"training images are uint8\[4x4\].*: give uint8 \[n, h, w, 3\]"):
        training(Provider(Labelled(images(2)[..., 0])), FRAMES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (np.zeros(1), np.zeros(1)),
            r"held_out\(\) of the data gives a tuple, it needs an array `images` and `labels`",
        ),
        (None, "gives a NoneType"),
        (OSError("disk on fire"), r"held_out\(\) of the data failed: OSError: disk on fire"),
        (CannotBuild("no such folder"), "^no such folder$"),
        (
            Labelled(images(1, side=8)),
            r"held-out images are uint8\[8x8x3\], the model takes uint8\[4x4x3\]: give uint8 \[n, 4, 4, 3\]",
        ),
        (Labelled(np.zeros((2, 4, 4, 3))), r"float64\[4x4x3\]"),
        (Labelled(images(0)), "there are 0 held-out images"),
        (Labelled(images(2), np.array([0])), "2 held-out images with 1 labels: give one for each, or None"),
        (Labelled(images(2), [BOX]), "2 held-out images with 1 labels"),
        (Labelled(images(2), np.array([0.0, 1.0])), r"held-out labels are float64\[2\]: a class each is int64 \[n\]"),
        (Labelled(images(1), np.array([[0, 1]])), r"labels are int64\[1, 2\]"),
        (Labelled(images(2), {0: 1, 1: 2}), "labels are a dict"),  # type: ignore[arg-type]  # what a user may get wrong
        (Labelled(images(2), "ab"), "labels are a str"),  # type: ignore[arg-type]  # what a user may get wrong
        (Labelled(images(2), [0, 1]), "boxes of held-out image 0 are a int"),  # type: ignore[list-item]  # the same
        (Labelled(images(2), [BOX, BOX[0]]), r"image 1 are float32\[5\]: give float32 \[k, 5\]"),
        (Labelled(images(1), [BOX[:, :4]]), r"image 0 are float32\[1, 4\]"),
        (Labelled(images(1), [BOX.astype(np.float64)]), r"image 0 are float64\[1, 5\]"),
        (Labelled(images(1), [BOX * np.float32(np.nan)]), "image 0 have numbers that are not finite"),
        (Labelled(images(1), [BOX[:, [2, 1, 0, 3, 4]]]), "image 0 have a right edge left of the left one"),
    ],
)
def test_what_does_not_fit_is_said(given: Any, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        held_out(Provider(given), FRAMES)


def test_a_part_has_the_labels_of_its_images() -> None:
    numbered = np.arange(4, dtype=np.uint8)[:, None, None, None]
    part = Labelled(numbered, np.array([5, 6, 7, 8])).part(1, 3)
    assert part.images.ravel().tolist() == [1, 2]
    assert part.class_labels().tolist() == [6, 7]
    assert Labelled(numbered).part(1, 3).labels is None
    boxes = Labelled(numbered, [BOX, BOX[:0], BOX, BOX]).part(0, 2).labels
    assert boxes is not None
    assert [len(b) for b in boxes] == [1, 0]


@pytest.mark.parametrize(("labels", "described"), [(None, "no labels"), ([BOX], "labels of type list")])
def test_classes_are_refused_where_there_are_none(labels: Any, described: str) -> None:
    with pytest.raises(CannotBuild, match=f"the images have {described}; a class for each"):
        Labelled(images(1), labels).class_labels()
