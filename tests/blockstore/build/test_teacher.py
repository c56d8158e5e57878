"""Teacher: what each block gets and gives, and nothing kept of it."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor

from blockstore.build.teacher import Teacher
from tests.blockstore.build import crafting, networks

IMAGES = networks.frames(10).numpy()


def test_every_block_gets_what_the_one_before_gives() -> None:
    teacher = Teacher(crafting.blocks())
    steps = list(teacher.walk(IMAGES, last=1))
    assert [lesson.block for lesson in steps] == [0, 1]
    assert torch.equal(steps[0].input, torch.from_numpy(IMAGES))
    assert torch.equal(steps[0].output, steps[1].input)
    assert [lesson.neck for lesson in steps] == [None, None]


def test_the_last_block_also_gives_its_neck() -> None:
    # Of two blocks the last one has a unit besides the pooling, and so a map to learn at.
    *_, last = Teacher(crafting.blocks(count=2)).walk(IMAGES, last=1)
    assert last.neck is not None
    assert last.neck.dim() == 4
    assert last.output.dim() == 2


def test_lessons_come_in_order_with_a_last_batch_that_is_smaller() -> None:
    teacher = Teacher(crafting.blocks())
    inputs = [x for x, _ in teacher.lessons(0, IMAGES, 4)]
    assert [len(x) for x in inputs] == [4, 4, 2]
    assert np.array_equal(torch.cat(inputs).numpy(), IMAGES)


def test_a_blocks_output_finished_is_the_networks() -> None:
    teacher = Teacher(crafting.blocks())
    expected = networks.residual()(networks.PREPROCESS(torch.from_numpy(IMAGES)))
    for block in range(3):
        ((_, output),) = teacher.lessons(block, IMAGES, 10)
        assert torch.allclose(teacher.finish(block, output), expected, atol=1e-4)


def test_no_tensor_outlives_the_step_after_its_own() -> None:
    teacher = Teacher(crafting.blocks())
    seen: list[weakref.ref[Tensor]] = []
    for lesson in teacher.walk(IMAGES, 2):
        assert [ref() for ref in seen if ref() is not None] in ([], [lesson.input])
        seen.append(weakref.ref(lesson.output))
    del lesson
    assert [ref() for ref in seen] == [None] * 3


def test_read_only_images_are_taken() -> None:
    frozen = IMAGES.copy()
    frozen.setflags(write=False)
    ((x, _),) = Teacher(crafting.blocks()).lessons(0, frozen, 10)
    assert np.array_equal(x.numpy(), IMAGES)
