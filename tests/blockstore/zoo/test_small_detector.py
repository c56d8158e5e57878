"""The small detector: two outputs that become boxes of both scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from blockstore.block import TensorSpec
from blockstore.errors import CannotBuild
from blockstore.zoo.boxes import CLASS, SCORE
from blockstore.zoo.small_detector import boxes, small_detector
from tests.blockstore.zoo.nets import parameters, traced

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def nothing(images: int = 1) -> Outputs:
    """Outputs for frames of 96x96 that say with certainty that there is nothing."""
    small, large = np.zeros((images, 15, 12, 12), np.float32), np.zeros((images, 15, 6, 6), np.float32)
    small[:, 0] = large[:, 0] = -20
    return small, large


def test_it_is_small_and_has_two_outputs() -> None:
    network = small_detector(channels=1, classes=10)
    assert parameters(network) == 78_462
    with torch.no_grad():
        small, large = network(torch.zeros(2, 1, 96, 64))
    assert small.shape == (2, 15, 12, 8)
    assert large.shape == (2, 15, 6, 4)


def test_it_can_be_traced() -> None:
    outputs = traced(small_detector(channels=3, classes=2), 32).outputs
    assert outputs == (TensorSpec("float32", (7, 4, 4)), TensorSpec("float32", (7, 2, 2)))


def test_place_size_score_and_class_are_decoded() -> None:
    small, large = nothing()
    small[0, 0, 3, 5] = 2.0
    small[0, 1:5, 3, 5] = [1.0, -1.0, 0.5, 0.0]
    small[0, 5 + 7, 3, 5] = 6.0
    ((left, top, right, bottom, score, label),) = boxes((small, large))[0]
    sigmoid = 1 / (1 + np.exp(-1.0))
    assert (left + right) / 2 == pytest.approx((5 + sigmoid) / 12)
    assert (top + bottom) / 2 == pytest.approx((3 + 1 - sigmoid) / 12)
    assert (right - left, bottom - top) == pytest.approx((2 * np.exp(0.5) / 12, 2 / 12))
    assert score == pytest.approx(1 / (1 + np.exp(-2.0)) * np.exp(6.0) / (np.exp(6.0) + 9))
    assert label == 7


def test_an_object_that_both_scales_find_is_one_box() -> None:
    small, large = nothing(images=2)
    # The same box: from place (4, 4) of 12, at twice the prior, and from place (2, 2) of 6.
    small[1, 0, 4, 4], small[1, 3:5, 4, 4], small[1, 5, 4, 4] = 1.0, np.log(2), 9.0
    large[1, 0, 2, 2], large[1, 5, 2, 2] = 3.0, 9.0
    first, second = boxes((small, large))
    assert first.shape == (0, 6)
    assert second[:, CLASS].tolist() == [0.0]
    assert second[0, SCORE] == pytest.approx(0.95, abs=0.01)


def test_uncertain_places_give_no_box() -> None:
    small, large = nothing()
    small[0, 0, 0, 0], small[0, 5, 0, 0] = 0.0, 9.0
    assert len(boxes((small, large), min_score=0.6)[0]) == 0
    assert len(boxes((small, large), min_score=0.4)[0]) == 1


@pytest.mark.parametrize("output", [nothing()[0], (np.zeros((1, 10), np.float32),)])
def test_the_output_of_another_network_is_refused(output: Any) -> None:
    with pytest.raises(CannotBuild, match="has two outputs"):
        boxes(output)
