"""Custom: the user's own metric, and what it may get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockstore.build.images import Labelled
from blockstore.build.tasks.custom import Custom
from blockstore.build.tasks.functions import NamedFunction
from blockstore.errors import CannotBuild

IMAGES = np.zeros((3, 2, 2, 3), np.uint8)
OUTPUTS = np.array([[1.0], [2.0], [3.0]], np.float32)


def nearness(outputs: Any, originals: Any, labels: Any) -> float:
    return float(np.mean(np.abs(outputs - originals) < 0.5))


def test_batches_count_by_their_images() -> None:
    reference = Custom(NamedFunction("here:nearness", nearness)).reference([OUTPUTS[:2], OUTPUTS[2:]], Labelled(IMAGES))
    route = OUTPUTS + np.array([[0], [0], [1]], np.float32)
    score = (reference.tally(route[:2], 0) + reference.tally(route[2:], 2)).score()
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.figures == {}


def test_the_metric_is_given_the_labels_and_outputs_of_the_same_images() -> None:
    seen: list[Any] = []

    def note(outputs: Any, originals: Any, labels: Any) -> float:
        seen.append((outputs, originals, labels))
        return 1.0

    task = Custom(NamedFunction("here:note", note))
    originals = [(OUTPUTS[:2], -OUTPUTS[:2]), (OUTPUTS[2:], -OUTPUTS[2:])]
    reference = task.reference(originals, Labelled(IMAGES, np.array([4, 5, 6])))
    reference.tally((OUTPUTS[1:], OUTPUTS[1:]), 1)
    ((_, (plain, negative), labels),) = seen
    assert plain.tolist() == [[2], [3]]
    assert negative.tolist() == [[-2], [-3]]
    assert labels.tolist() == [5, 6]


@pytest.mark.parametrize("value", [float("nan"), 1.2, -0.1, None, "good", np.array([0.5])])
def test_what_is_no_accuracy_is_refused(value: Any) -> None:
    task = Custom(NamedFunction("here:metric", lambda *_: value))
    reference = task.reference([OUTPUTS], Labelled(IMAGES))
    with pytest.raises(CannotBuild, match=r"here:metric gave .* for 3 images, an accuracy is a number from 0 to 1"):
        reference.tally(OUTPUTS, 0)


def strict(outputs: Any, originals: Any, labels: Any) -> float:
    if not np.isfinite(outputs).all():
        raise ValueError("Input contains NaN")
    return 1.0


@pytest.mark.parametrize("metric", [lambda outputs, *_: float(outputs.mean()), strict])
@pytest.mark.parametrize("ruin", [np.nan, np.inf])
def test_where_outputs_are_ruined_and_the_metric_makes_nothing_of_them_accuracy_is_0(metric: Any, ruin: float) -> None:
    task = Custom(NamedFunction("here:metric", metric))
    reference = task.reference([OUTPUTS], Labelled(IMAGES))
    route = OUTPUTS.copy()
    route[1] = ruin
    assert reference.tally(route, 0).score().accuracy == 0.0


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), True])
def test_any_number_from_0_to_1_is_taken(value: Any) -> None:
    reference = Custom(NamedFunction("here:metric", lambda *_: value)).reference([OUTPUTS], Labelled(IMAGES))
    assert reference.tally(OUTPUTS, 0).score().accuracy == float(value)


def test_a_metric_that_fails_is_named() -> None:
    def broken(*_: Any) -> float:
        raise RuntimeError("disk on fire")

    reference = Custom(NamedFunction("here:broken", broken)).reference([OUTPUTS], Labelled(IMAGES))
    with pytest.raises(CannotBuild, match="here:broken failed: RuntimeError: disk on fire"):
        reference.tally(OUTPUTS, 0)
