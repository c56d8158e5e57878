"""Embedding: rank-1 among the original's vectors where there are labels, and cosine to the original's vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.build.images import Labelled
from blockstore.build.tasks.embedding import Embedding
from blockstore.errors import CannotBuild

IMAGES = np.zeros((4, 2, 2, 3), np.uint8)
LABELS = np.array([7, 7, 3, 3])
Vectors = np.ndarray[Any, np.dtype[np.float32]]
# Two to the right, two upwards; lengths must not matter.
ORIGINAL: Vectors = np.array([[1, 0], [9, 1], [0, 2], [0.1, 1]], np.float32)


def tallied(vectors: Vectors, labels: Any = LABELS, batch: int = 2) -> Any:
    reference = Embedding().reference([ORIGINAL[:3], ORIGINAL[3:]], Labelled(IMAGES, labels))
    first, *others = (reference.tally(vectors[i : i + batch], i) for i in range(0, 4, batch))
    return sum(others, start=first).score()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_original_agrees_with_itself(batch: int) -> None:
    score = tallied(ORIGINAL, batch=batch)
    assert score.accuracy == score.figures["rank1"] == 1.0
    assert score.figures["cosine"] == pytest.approx(1.0)


def test_an_image_is_not_its_own_nearest() -> None:
    assert tallied(ORIGINAL, labels=np.array([7, 3, 3, 7])).accuracy == 0.0


def test_a_vector_that_turns_to_others_finds_the_wrong_ones() -> None:
    turned = ORIGINAL.copy()
    turned[0] = [0, 1]
    score = tallied(turned)
    assert score.accuracy == 0.75
    assert score.figures["cosine"] == pytest.approx(0.75)


def test_without_labels_accuracy_is_the_mean_cosine() -> None:
    score = tallied(ORIGINAL * np.array([[1], [5], [1], [-1]], np.float32), labels=None)
    assert score.accuracy == pytest.approx(0.5)
    assert score.figures == {"cosine": score.accuracy}
    assert tallied(-ORIGINAL, labels=None).accuracy == 0.0


def test_vectors_of_a_ruined_network_are_like_no_other() -> None:
    ruined = ORIGINAL.copy()
    ruined[1], ruined[2] = np.nan, 0
    assert tallied(ruined, labels=None).accuracy == pytest.approx(0.5)


def test_labels_need_no_names_but_two_images_of_one() -> None:
    Embedding().check(Labelled(IMAGES, LABELS), ())
    Embedding().check(Labelled(IMAGES), ())
    with pytest.raises(CannotBuild, match="all 4 held-out labels differ: rank-1 needs two images of one label"):
        Embedding().check(Labelled(IMAGES, np.arange(4)), ())


def test_outputs_that_are_no_vectors_are_refused() -> None:
    with pytest.raises(CannotBuild, match=r"gives \[4, 2, 1\], embedding needs \[batch, length\]"):
        Embedding().reference([ORIGINAL[:, :, None]], Labelled(IMAGES))
