"""Retrain: variants come nearer to their originals, stop when they no longer do, and know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from blockstore.build.retrain import Course, Retraining, Split, has_settled, rate_at
from blockstore.build.student import Student, dump, restore
from blockstore.build.teacher import Teacher
from tests.blockstore.build import crafting, networks

IMAGES = networks.frames(40).numpy()
COURSE = crafting.COURSE


def student(block: int, share: float) -> Student:
    cut = crafting.blocks()[block]
    material: object = None  # not looked at
    reshaped = crafting.Blurred(share).reshape(cut, cut.module, material)  # type: ignore[arg-type]  # see above
    return Student(f"{share}", reshaped.module, "cpu")


def retraining(students: dict[int, list[Student]], course: Course = COURSE, validation: int = 8) -> Retraining:
    split = Split.of(len(IMAGES), validation, 8, course.seed)
    return Retraining(Teacher(crafting.blocks()), students, IMAGES, split, course)


def train(
    students: dict[int, list[Student]],
    course: Course = COURSE,
    after_epoch: Callable[[int], None] = lambda block: None,
) -> None:
    retraining(students, course).run(lambda *_: None, after_epoch)


def weights(trained: Student) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trained.graduate().parameters()]


def test_every_variant_comes_nearer_to_its_original() -> None:
    students = {0: [student(0, 0.5)], 2: [student(2, 0.5), student(2, 0.9)]}
    train(students)
    for one in (s for group in students.values() for s in group):
        assert one.epoch == 3
        assert min(one.errors) < one.errors[0]


def test_a_variant_ends_the_same_whichever_are_beside_it() -> None:
    alone, beside = student(1, 0.5), student(1, 0.5)
    train({1: [alone]})
    train({0: [student(0, 0.2)], 1: [student(1, 0.7), beside], 2: [student(2, 0.4)]})
    assert alone.errors == beside.errors
    assert all(map(torch.equal, weights(alone), weights(beside)))


def test_originals_are_not_trained() -> None:
    blocks = crafting.blocks()
    before = [p.clone() for b in blocks for p in b.module.parameters()]
    split = Split.of(len(IMAGES), 8, 8, 1)
    Retraining(Teacher(blocks), {1: [student(1, 0.5)]}, IMAGES, split, COURSE).run(lambda *_: None, lambda _: None)
    assert all(map(torch.equal, before, [p for b in blocks for p in b.module.parameters()]))


@pytest.mark.parametrize("kept_after", [(0, 1), (0, 2), (1,), (2,)])
def test_going_on_from_what_was_kept_ends_where_an_unbroken_run_ends(kept_after: tuple[int, ...]) -> None:
    """Also where a kill came between two blocks: one was kept after its second epoch, the other after its first."""
    whole = {0: [student(0, 0.5)], 2: [student(2, 0.5), student(2, 0.9)]}
    train(whole)
    broken = {0: [student(0, 0.5)], 2: [student(2, 0.5), student(2, 0.9)]}
    kept: dict[int, bytes] = {}
    course = retraining(broken)

    def keep(block: int) -> None:
        epochs = [s.epoch for s in broken[0]]
        if block == 0 and epochs[0] in kept_after:
            kept[0] = dump(broken[0], course.is_done)
        if block == 2 and broken[2][0].epoch == 1:
            kept[2] = dump(broken[2], course.is_done)

    course.run(lambda *_: None, keep)
    resumed = {0: [student(0, 0.5)], 2: [student(2, 0.5), student(2, 0.9)]}
    for block, group in resumed.items():
        restore(group, kept[block])
    train(resumed)
    for block in whole:
        for one, other in zip(whole[block], resumed[block], strict=True):
            assert one.errors == other.errors
            assert all(map(torch.equal, weights(one), weights(other)))


def test_a_student_that_is_done_is_kept_with_its_best_weights_only() -> None:
    done = student(1, 0.5)
    course = retraining({1: [done]})
    course.run(lambda *_: None, lambda _: None)
    data = dump([done], course.is_done)
    resumed = student(1, 0.5)
    restore([resumed], data)
    assert course.is_done(resumed)
    assert len(data) < 1.2 * sum(p.numel() * 4 for p in done.module.parameters()) + 4096
    assert all(map(torch.equal, weights(done), weights(resumed)))


def test_the_best_weights_are_taken_not_the_last() -> None:
    wild = student(1, 0.98)
    seen = [[p.detach().clone() for p in wild.module.parameters()]]
    train(
        {1: [wild]},
        replace(COURSE, learning_rate=0.3),
        lambda block: seen.append([p.detach().clone() for p in wild.module.parameters()]),
    )
    best = wild.errors.index(min(wild.errors))
    assert best < 3
    assert all(map(torch.equal, weights(wild), seen[best]))


def test_a_student_stops_where_its_error_no_longer_falls() -> None:
    idle, busy = student(0, 0.5), student(2, 0.5)
    seen: list[tuple[int, int, str]] = []
    # A rate of nothing: no gain ever.
    course = replace(COURSE, learning_rate=0.0, patience=1, min_gain=0.01)
    retraining({0: [idle], 2: [busy]}, course).run(lambda *told: seen.append(told), lambda _: None)
    assert idle.epoch == busy.epoch == 1
    assert seen[-1] == (24, 24, "0 of 2 variants still learn")


@pytest.mark.parametrize(
    ("errors", "settled"),
    [
        ([1.0], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0], True),
        ([1.0, 0.995, 0.992], True),
        ([1.0, 0.995, 0.985], False),
        ([1.0, 0.5, 0.9, 0.9], True),
        ([1.0, 0.9, 0.9, 0.4], False),
    ],
)
def test_settled_is_no_gain_of_a_hundredth_in_two_epochs(errors: list[float], settled: bool) -> None:
    assert has_settled(errors, patience=2, min_gain=0.01) is settled


def test_a_loss_that_is_not_a_number_ends_one_student_only() -> None:
    broken, sound = student(1, 1e30), student(1, 0.5)
    train({1: [broken, sound]})
    assert broken.fault is not None
    assert "lower the learning rate" in broken.fault
    assert (sound.fault, sound.epoch) == (None, 3)


@pytest.mark.parametrize("images", [1, 17])
def test_a_single_number_in_a_last_batch_is_learnt_from(images: int) -> None:
    """A network of one output, and as many images as leave one alone: it has no variance."""
    blocks = crafting.blocks(networks.residual(outputs=1))
    blurred = crafting.Blurred(0.9).reshape(blocks[2], blocks[2].module, None)  # type: ignore[arg-type]  # not looked at
    one = Student("blurred", blurred.module, "cpu")
    split = Split(np.arange(images), np.arange(8), np.arange(8))
    Retraining(Teacher(blocks), {2: [one]}, IMAGES, split, COURSE).run(lambda *_: None, lambda _: None)
    assert one.fault is None
    assert min(one.errors) < one.errors[0]


def test_without_epochs_students_are_measured_and_left_as_they_are() -> None:
    one = student(1, 0.5)
    train({1: [one]}, replace(COURSE, epochs=0))
    assert len(one.errors) == 1
    assert all(map(torch.equal, weights(one), student(1, 0.5).module.parameters()))


def test_without_students_there_is_nothing_to_do() -> None:
    train({})


def test_images_are_split_once_and_for_one_use() -> None:
    split = Split.of(100, validation=20, calibration=10, seed=3)
    assert (len(split.learning), len(split.validation), len(split.calibration)) == (80, 20, 10)
    assert sorted({*split.learning, *split.validation}) == list(range(100))
    assert set(split.calibration) <= set(split.learning)
    again = Split.of(100, validation=20, calibration=10, seed=3)
    assert np.array_equal(split.learning, again.learning)


@pytest.mark.parametrize(("images", "validation", "expected"), [(8, 100, 2), (3, 100, 3), (8, 0, 5)])
def test_where_images_are_few_a_quarter_validates_or_those_of_calibration(
    images: int, validation: int, expected: int
) -> None:
    split = Split.of(images, validation, calibration=5, seed=0)
    assert len(split.validation) == expected


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(step / 100) for step in range(100)]
    assert max(rates) == rates[9]
    assert 0 < rates[0] < 0.2
    assert rates[-1] < 0.02
