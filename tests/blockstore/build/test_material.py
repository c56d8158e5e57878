"""Material: kinds see calibration images only, and scores are agreement with the original on other images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from blockstore.block import TensorSpec
from blockstore.build.cut import cut
from blockstore.build.kinds.base import Declined, Material
from blockstore.build.material import Library
from blockstore.build.retrain import Split
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from blockstore.build.teacher import Teacher
from blockstore.zoo.small_detector import small_detector
from tests.blockstore.build import crafting, networks
from tests.blockstore.zoo import nets

IMAGES = networks.frames(40).numpy()
SPLIT = Split.of(40, validation=8, calibration=12, seed=0)
BLOCKS = crafting.blocks()
OUTPUTS = (TensorSpec("float32", (4,)),)


def library() -> Library:
    return Library(Teacher(BLOCKS), IMAGES, SPLIT, Classification(), OUTPUTS, crafting.constant_ms, batch_size=5)


def material(block: int) -> Material:
    return library().material(block, width_multiple=8, seed=3)


def test_batches_are_the_calibration_images_the_same_each_time() -> None:
    made = material(0)
    first, second = ([x for x, _ in made.batches()] for _ in range(2))
    assert [len(x) for x in first] == [5, 5, 2]
    assert np.array_equal(torch.cat(first).numpy(), IMAGES[SPLIT.calibration])
    assert all(map(torch.equal, first, second))


def test_a_batch_is_what_the_block_gets_and_gives() -> None:
    for x, output in material(1).batches():
        assert torch.allclose(BLOCKS[1].module(x), output)


def test_the_original_scores_1_and_a_block_that_gives_other_classes_less() -> None:
    made = material(2)
    assert made.score(BLOCKS[2].module) == 1.0
    # The head's weights with the opposite sign: its last class comes first.
    opposite = crafting.Blurred(-1.0).reshape(BLOCKS[2], BLOCKS[2].module, made).module
    assert made.score(opposite) < 1.0


def test_several_outputs_are_scored_as_the_task_knows_them() -> None:
    """As the small detector's, whose decoder takes its two maps."""
    traced = nets.traced(small_detector(3, 2), side=32)
    (block,) = cut(traced, 1, lambda *_: 1.0, lambda *_: True).blocks
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    split = Split.of(6, validation=1, calibration=2, seed=0)
    task = parse_task("detection?decode=blockstore.zoo.small_detector:boxes")
    shelf = Library(Teacher([block]), images, split, task, traced.outputs, crafting.constant_ms, batch_size=4)
    assert shelf.material(0, width_multiple=8, seed=0).score(block.module) == 1.0


def needs_labels(outputs: Any, originals: Any, labels: Any) -> float:
    return float((outputs.argmax(1) == labels[: len(outputs)]).mean())


def test_a_task_that_needs_labels_is_a_reason_for_the_kind_that_asks_for_a_score() -> None:
    task = parse_task(f"{__name__}:needs_labels")
    shelf = Library(Teacher(BLOCKS), IMAGES, SPLIT, task, OUTPUTS, crafting.constant_ms, batch_size=5)
    made = shelf.material(0, width_multiple=8, seed=3)
    with pytest.raises(Declined, match=r"cannot score unlabelled images: .*needs_labels failed: TypeError"):
        made.score(BLOCKS[0].module)


def test_a_sample_is_the_first_calibration_images() -> None:
    assert np.array_equal(library().sample(0, 3, networks.FRAMES).numpy(), IMAGES[SPLIT.calibration[:3]])


def test_a_sample_has_the_size_that_is_served_where_the_images_have_another() -> None:
    frames = TensorSpec("uint8", (16, 12, 3))
    assert library().sample(0, 3, frames).shape == (3, 16, 12, 3)
    assert np.array_equal(library().sample(0, 3, frames), library().sample(0, 3, frames))


def test_what_is_told_is_passed_on() -> None:
    made = material(0)
    assert (made.width_multiple, made.seed) == (8, 3)
    assert made.latencies_ms([BLOCKS[0].module], BLOCKS[0].input) == [0.5]
