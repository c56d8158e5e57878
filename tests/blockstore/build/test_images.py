"""What a user's own data provider may get wrong, and what is said then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import Labelled, for_exits, held_out, training
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


class WithValidation(Provider):
    """A provider with images of their own for thresholds."""

    def __init__(self, given: Any, own: Any) -> None:
        super().__init__(given)
        self._own = own

    def validation(self) -> Any:
        return self._own


def numbered(count: int, labels: Any = None) -> Labelled:
    """Images that tell which one they are."""
    return Labelled(np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3)), labels)


def numbers(data: Labelled) -> list[int]:
    return [int(n) for n in data.images[:, 0, 0, 0]]


def test_thresholds_are_searched_on_images_of_their_own_where_there_are_any() -> None:
    given, own = numbered(6), numbered(3)
    searched, checked = for_exits(WithValidation(given, own), given, FRAMES)
    assert searched is own
    assert checked is given


def test_else_on_one_half_of_those_held_out_and_checked_on_the_other() -> None:
    given = numbered(7)
    searched, checked = for_exits(Provider(given), given, FRAMES)
    assert (numbers(searched), numbers(checked)) == ([0, 1, 2], [3, 4, 5, 6])


def test_each_half_has_every_class_however_they_are_sorted_and_pairs_stay_together() -> None:
    labels = np.repeat([0, 1, 2], 8)
    given = numbered(24, labels)
    halves = for_exits(Provider(given), given, FRAMES)
    for half in halves:
        assert np.bincount(half.class_labels()).tolist() == [4, 4, 4]
        assert [labels[n] for n in numbers(half)] == half.class_labels().tolist()
    assert sorted(numbers(halves[0]) + numbers(halves[1])) == list(range(24))
    pairs = numbered(8, np.repeat([3, 1, 2, 0], 2))
    for half in for_exits(Provider(pairs), pairs, FRAMES):
        assert set(np.unique(half.class_labels(), return_counts=True)[1]) == {2}


def test_too_few_held_out_images_to_halve_are_refused_with_the_remedy() -> None:
    given = numbered(3)
    with pytest.raises(CannotBuild, match=r"there are 3 held-out images, exits need 4 at least: .*validation\(\)"):
        for_exits(Provider(given), given, FRAMES)


def test_validation_images_are_checked_like_the_others() -> None:
    given = numbered(6)
    with pytest.raises(CannotBuild, match=r"the validation images are uint8\[5x5x3\]"):
        for_exits(WithValidation(given, Labelled(images(2, side=5))), given, FRAMES)
    with pytest.raises(CannotBuild, match=r"validation\(\) of the data gives a int"):
        for_exits(WithValidation(given, 7), given, FRAMES)
