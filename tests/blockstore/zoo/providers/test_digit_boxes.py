"""Scenes with boxes: boxes hold the ink of their digits and nothing else is dark enough to be one."""

from __future__ import annotations

import numpy as np

from blockstore.block import TensorSpec
from blockstore.build.images import Boxes, Labelled, held_out, training
from blockstore.zoo.datasets import digit_boxes
from blockstore.zoo.providers.digit_boxes import SIZE


def boxes(data: Labelled) -> list[Boxes]:
    assert isinstance(data.labels, list)
    return data.labels


def test_frames_and_boxes_are_what_the_builder_takes() -> None:
    data = digit_boxes(train_limit=12, test_limit=8)
    expected = TensorSpec("uint8", (SIZE, SIZE, 1))
    assert len(training(data, expected)) == 12
    assert len(held_out(data, expected)) == 8
    assert len(data.classes) == 10


def test_boxes_lie_inside_of_the_frame_and_digits_have_two_sizes() -> None:
    found = boxes(digit_boxes(test_limit=60).held_out())
    together = np.concatenate(found)
    assert together[:, :4].min() >= 0
    assert together[:, :4].max() <= 1
    assert set(together[:, 4]) <= set(range(10))
    heights = (together[:, 3] - together[:, 1]) * SIZE
    close = np.array([height for f, height in zip(found, heights, strict=False) if len(f) == 1])
    assert len(close) > 10
    assert heights.min() < 20 < 30 < heights.max()
    assert {len(f) for f in found} >= {1, 2, 3, 4}


def test_ink_is_inside_of_the_boxes() -> None:
    """The darkest places of a frame with contrast are digits."""
    data = digit_boxes(test_limit=40).held_out()
    inside, outside = [], []
    for image, found in zip(data.images[..., 0], boxes(data), strict=True):
        mask = np.zeros_like(image, dtype=bool)
        for left, top, right, bottom, _ in found * [SIZE, SIZE, SIZE, SIZE, 1]:
            mask[round(top) : round(bottom), round(left) : round(right)] = True
        inside.append(np.quantile(image[mask], 0.2) if mask.any() else np.nan)
        outside.append(np.quantile(image[~mask], 0.2))
    assert np.nanmean(np.array(outside) - inside) > 30


def test_the_same_frames_come_again_and_epochs_and_parts_differ() -> None:
    data = digit_boxes(train_limit=6, test_limit=6)
    one, same, other = data.scenes(0), data.scenes(0), data.scenes(1)
    assert np.array_equal(one.images, same.images)
    assert all(np.array_equal(a, b) for a, b in zip(boxes(one), boxes(same), strict=True))
    assert not np.array_equal(one.images, other.images)
    assert not np.array_equal(one.images, data.held_out().images)
