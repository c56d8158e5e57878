"""Digit scenes: what is held out stays out of training, and scenes are the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np

from blockstore.block import TensorSpec
from blockstore.build.images import held_out, training
from blockstore.zoo import digit_scenes
from blockstore.zoo.datasets import digits


def test_no_held_out_digit_is_trained_on() -> None:
    data = digits()
    held_out = {d.tobytes() for d in data.held_out_digits}
    training = {d.tobytes() for d in data.training_digits}
    assert len(data.held_out_labels) == 449
    assert len(held_out) + len(training) == 1797
    assert not held_out & training


def test_scenes_differ_between_epochs_and_keep_their_labels() -> None:
    data = digits(train_limit=6, test_limit=3)
    one, other = data.scenes(0, 48), data.scenes(1, 48)
    assert one.images.shape == (6, 48, 48, 1)
    assert not np.array_equal(one.images, other.images)
    assert np.array_equal(one.class_labels(), other.class_labels())


def test_digits_are_what_the_demo_networks_take() -> None:
    data = digits(train_limit=4, test_limit=4)
    expected = TensorSpec("uint8", (144, 144, 1))
    training(data, expected)
    held_out(data, expected)


def test_a_seed_draws_the_same_scene_on_every_machine() -> None:
    digit = np.arange(64, dtype=np.uint8).reshape(8, 8) % 17
    scene = digit_scenes.frame(digit, digit, seed=7, size=48)
    assert np.array_equal(scene, digit_scenes.frame(digit, digit, seed=7, size=48))
    # Coarse, so that the last bit of a processor's arithmetic does not matter.
    coarse = scene.reshape(4, 12, 4, 12).mean((1, 3)).round(-1).astype(int)
    assert hashlib.sha256(coarse.tobytes()).hexdigest()[:8] == "4a9a1ebb"


def test_a_digit_lies_inside_of_its_scene_as_dark_ink() -> None:
    digit = np.full((8, 8), 16, np.uint8)
    blank = np.zeros((8, 8), np.uint8)
    with_ink, without = (digit_scenes.frame(d, blank, seed=3) for d in (digit, blank))
    darker = without.astype(int) - with_ink.astype(int) > 60
    rows, columns = np.nonzero(darker[:, :, 0])
    for extent in (np.ptp(rows), np.ptp(columns)):
        assert digit_scenes.EXTENT[0] - 8 <= extent <= digit_scenes.EXTENT[1] + 8
