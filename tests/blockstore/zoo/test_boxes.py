"""Boxes: corners of what is decoded, and which of several on one object stays."""

from __future__ import annotations

import numpy as np
import pytest

from blockstore.zoo.boxes import CLASS, SCORE, Floats, boxes_of, suppressed


def box(left: float, right: float, score: float = 0.5, label: int = 0) -> list[float]:
    """A box over the full height."""
    return [left, 0.0, right, 1.0, score, label]


def rows(*boxes: list[float]) -> Floats:
    return np.array(boxes, dtype=np.float32).reshape(-1, 6)


def test_centres_and_sizes_become_corners() -> None:
    made = boxes_of(np.array([[0.5, 0.25]]), np.array([[0.2, 0.1]]), np.array([0.9], dtype=np.float32), np.array([3]))
    assert made.dtype == np.float32
    assert made[0].tolist() == pytest.approx([0.4, 0.2, 0.6, 0.3, 0.9, 3.0])


def test_no_boxes_are_no_mistake() -> None:
    assert suppressed(rows(), 0.5).shape == (0, 6)


def test_the_best_box_of_an_object_stays() -> None:
    left, right = box(0.0, 0.4, 0.6), box(0.6, 1.0, 0.7)
    kept = suppressed(rows(left, box(0.05, 0.45, 0.9), right), 0.5)
    assert kept[:, SCORE].tolist() == pytest.approx([0.9, 0.7])


def test_a_box_that_is_suppressed_suppresses_nothing() -> None:
    """Neighbours in this chain overlap by 0.6, its ends by a third."""
    chain = rows(box(0.0, 0.4, 0.9), box(0.1, 0.5, 0.8), box(0.2, 0.6, 0.7))
    assert suppressed(chain, 0.5)[:, SCORE].tolist() == pytest.approx([0.9, 0.7])


def test_objects_of_two_classes_may_share_a_place() -> None:
    kept = suppressed(rows(box(0.0, 0.4, 0.6, label=1), box(0.0, 0.4, 0.9, label=2)), 0.5)
    assert kept[:, CLASS].tolist() == [2.0, 1.0]
