"""Augmentation: images move by at most four pixels, half of them are mirrored, and the seed decides which."""

from __future__ import annotations

import numpy as np

from blockstore.zoo.augment import SHIFT, augmented


def dots(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frames of 16x24 with one bright pixel at row 8, column 7."""
    frames = np.zeros((count, 16, 24, 1), np.uint8)
    frames[:, 8, 7] = 255
    return frames


def test_dots_move_a_little_and_half_of_them_change_sides() -> None:
    moved = augmented(dots(400), np.random.default_rng(0))
    assert moved.shape == (400, 16, 24, 1)
    _, rows, columns, _ = np.nonzero(moved)
    assert set(rows - 8) == set(range(-SHIFT, SHIFT + 1))
    mirrored = columns > 11
    assert set(np.where(mirrored, 23 - columns, columns) - 7) == set(range(-SHIFT, SHIFT + 1))
    assert 0.4 < mirrored.mean() < 0.6


def test_the_images_that_are_given_stay_and_the_seed_decides() -> None:
    given = dots(8)
    one, same, other = (augmented(given, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(given, dots(8))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
