"""Detection: agreement with the original's boxes, and mAP@0.5 where there are labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.build.images import Labelled
from blockstore.build.tasks.detection import Detection, intersection_over_union, matches
from blockstore.build.tasks.functions import NamedFunction
from blockstore.errors import CannotBuild

CLASSES = ("car", "person")
Boxes = np.ndarray[Any, np.dtype[np.float32]]


def boxes(*rows: tuple[float, ...], columns: int = 6) -> Boxes:
    return np.array(rows, np.float32).reshape(len(rows), columns)


def decode(outputs: Any) -> list[Boxes]:
    """A batch of tables of boxes; rows of score 0 are filling."""
    return [table[table[:, 4] != 0] for table in outputs]


def batch(*images: Boxes) -> Boxes:
    """Outputs that `decode` makes these boxes of."""
    filled = np.zeros((len(images), 3, 6), np.float32)
    for table, found in zip(filled, images, strict=True):
        table[: len(found)] = found
    return filled


DETECTION = Detection(NamedFunction("here:decode", decode))
LEFT, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10)
SHIFTED = (0, 0, 10, 6)
"""Overlaps `LEFT` by 0.6."""
NONE = boxes()


def data(count: int, labels: Any = None) -> Labelled:
    return Labelled(np.zeros((count, 4, 4, 3), np.uint8), labels)


def score(original: Boxes, route: Boxes, labels: Any = None) -> Any:
    reference = DETECTION.reference([original], data(len(original), labels))
    first, *others = (reference.tally(route[i : i + 1], i) for i in range(len(route)))
    return sum(others, start=first).score()


def test_the_original_agrees_with_itself() -> None:
    original = batch(boxes((*LEFT, 0.9, 0), (*RIGHT, 0.8, 1)), NONE)
    assert score(original, original).accuracy == 1.0


def test_agreement_is_f1_over_all_images() -> None:
    original = batch(boxes((*LEFT, 0.9, 0), (*RIGHT, 0.8, 1)), boxes((*LEFT, 0.9, 0)))
    route = batch(boxes((*SHIFTED, 0.7, 0), (*RIGHT, 0.8, 0)), NONE)
    found = score(original, route)
    assert found.figures["agreement_precision"] == 1 / 2
    assert found.figures["agreement_recall"] == 1 / 3
    assert found.accuracy == found.figures["agreement_f1"] == pytest.approx(2 * 1 / (2 + 3))


def test_finding_nothing_where_the_original_finds_nothing_is_agreement() -> None:
    assert score(batch(NONE, NONE), batch(NONE, NONE)).accuracy == 1.0
    assert score(batch(NONE), batch(boxes((*LEFT, 0.9, 0)))).accuracy == 0.0


def test_two_boxes_do_not_agree_with_the_same_one() -> None:
    twice = boxes((*SHIFTED, 0.5, 0), (*LEFT, 0.9, 0))
    assert matches(twice, boxes((*LEFT, 0, 0))[:, :4], np.zeros(1, np.float32)).tolist() == [False, True]


@pytest.mark.parametrize(("height", "meets"), [(5, True), (4.9, False)])
def test_boxes_meet_from_half_of_their_union(height: float, meets: bool) -> None:
    low = boxes((0, 0, 10, height, 0.9, 0))
    assert matches(low, boxes((*LEFT, 0, 0))[:, :4], np.zeros(1, np.float32)).tolist() == [meets]


def test_boxes_without_area_overlap_nothing() -> None:
    point = boxes((1, 1, 1, 1), (5, 5, 2, 2), columns=4)
    assert intersection_over_union(point, point).tolist() == [[0, 0], [0, 0]]


def test_with_labels_accuracy_is_the_mean_average_precision() -> None:
    labels = [boxes((*LEFT, 0), (*RIGHT, 1), columns=5), boxes((*LEFT, 0), columns=5)]
    original = batch(boxes((*LEFT, 0.9, 0), (*RIGHT, 0.8, 1)), boxes((*LEFT, 0.9, 0)))
    assert score(original, original, labels).accuracy == 1.0
    # Cars: right at 0.9, wrong at 0.8, right at 0.7: precision 1 up to half the recall, then 2/3. No person.
    route = batch(boxes((*LEFT, 0.9, 0), (*RIGHT, 0.8, 0)), boxes((*SHIFTED, 0.7, 0)))
    found = score(original, route, labels)
    assert found.accuracy == found.figures["map50"] == pytest.approx(((1 + 2 / 3) / 2 + 0) / 2)
    # One car of two is not found: its half of the recall is lost.
    half = batch(boxes((*LEFT, 0.9, 0)), NONE)
    assert score(original, half, labels).accuracy == pytest.approx((0.5 + 0) / 2)
    assert score(original, batch(NONE, NONE), labels).accuracy == 0.0


def test_boxes_of_a_ruined_network_at_no_finite_place_are_dropped() -> None:
    original = batch(boxes((*LEFT, 0.9, 0)))
    assert score(original, batch(boxes((*LEFT, 0.9, 0), (float("nan"), 0, 1, 1, 0.9, 0)))).accuracy == 1.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), "a class for each image, detection needs boxes"),
        ([boxes(columns=5)] * 2, "there is no box on any of 2 held-out images"),
        ([boxes((*LEFT, 2), columns=5)] * 2, "a held-out box has class 2, for 2 classes it is 0 to 1"),
        ([boxes((*LEFT, 0.5), columns=5)] * 2, "a held-out box has class 0.5"),
    ],
)
def test_labels_that_say_nothing_of_boxes_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        DETECTION.check(data(2, labels), CLASSES)


def test_labels_that_fit_are_taken() -> None:
    DETECTION.check(data(2), ())
    DETECTION.check(data(2, [boxes((*LEFT, 1), columns=5), boxes(columns=5)]), CLASSES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "here:decode gave a NoneType for 2 images"),
        ([NONE], "here:decode gave a list of 1 for 2 images"),
        ([NONE, boxes(columns=5)], r"here:decode gave \[0, 5\] for an image: x1, y1, x2, y2, score, class is \[k, 6\]"),
        ([NONE, [1, 2]], "here:decode gave list for an image"),
    ],
)
def test_a_decoder_that_gives_something_else_is_named(given: Any, message: str) -> None:
    task = Detection(NamedFunction("here:decode", lambda outputs: given))
    with pytest.raises(CannotBuild, match=message):
        task.reference([np.zeros((2, 3, 6), np.float32)], data(2))


def test_a_network_of_several_outputs_is_decoded_from_all_of_them() -> None:
    def joined(outputs: Any) -> list[Boxes]:
        places, others = outputs
        return list(np.concatenate([places, others], axis=2))

    task = Detection(NamedFunction("here:joined", joined))
    table = boxes((*LEFT, 0.9, 0))[None]
    reference = task.reference([(table[:, :, :4], table[:, :, 4:])], data(1))
    assert reference.tally((table[:, :, :4], table[:, :, 4:]), 0).score().accuracy == 1.0
