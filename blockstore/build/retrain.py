"""Retrain: every variant learns to give its original block's output for its original block's input.

LegoDNN, section 4.1: block-wise, without labels. One pass of the original network per batch gives every block's input
and output, and feeds all variants: the originals run once, not once for each variant. No variant knows of another one,
so that it ends the same whichever are trained beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from blockstore.build.student import Student
from blockstore.build.teacher import Images, Lesson, Teacher

_WARM_UP: Final = 0.1


@dataclass(frozen=True, slots=True)
class Course:
    """How students are trained."""

    epochs: int
    """At most."""
    batch_size: int
    learning_rate: float
    """The highest: it rises over the first tenth of the steps and falls on half a cosine to a hundredth of it."""
    patience: int
    min_gain: float
    """A student is done when its error has not fallen by this share within `patience` epochs."""
    seed: int
    device: str
    """`cpu` or `cuda`."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Training images by their use, as positions in the order of the array."""

    learning: npt.NDArray[np.intp]
    validation: npt.NDArray[np.intp]
    """Nothing is trained on them, unless none could be spared; at most a quarter of all."""
    calibration: npt.NDArray[np.intp]
    """The first of `learning`."""

    @staticmethod
    def of(images: int, validation: int, calibration: int, seed: int) -> Split:
        """`images` positions, drawn by `seed`."""
        order = np.random.default_rng(seed).permutation(images)
        spared = min(validation, images // 4)
        learning = order[spared:]
        return Split(learning, order[:spared] if spared else learning[:calibration], learning[:calibration])


class Retraining:
    """Students of the blocks of one network, taught together."""

    def __init__(
        self,
        teacher: Teacher,
        students: Mapping[int, Sequence[Student]],
        images: Images,
        split: Split,
        course: Course,
    ) -> None:
        self._teacher = teacher
        self._students = students
        self._images = images
        self._split = split
        self._course = course

    def run(self, progress: Callable[[int, int, str], None], after_epoch: Callable[[int], None]) -> None:
        """Train until every student is done.

        `progress` is told steps done, steps in all and how many students still learn; a step is one batch for one
        student. `after_epoch` is told the block whose students have ended an epoch: the time to keep their state.
        """
        self._validate({b: [s for s in group if not s.errors] for b, group in self._students.items()})
        while waiting := {b: left for b in self._students if (left := self._unfinished(b))}:
            # Blocks that were kept at different epochs by a kill: the last come first, until all are level.
            epoch = min(s.epoch for group in waiting.values() for s in group)
            learning = {b: level for b, group in waiting.items() if (level := [s for s in group if s.epoch == epoch])}
            self._run_epoch(epoch, learning, progress)
            self._validate(learning)
            for block in learning:
                after_epoch(block)
        progress(*self._steps(), self._note())

    def _unfinished(self, block: int) -> list[Student]:
        return [s for s in self._students[block] if not self.is_done(s)]

    def is_done(self, student: Student) -> bool:
        """Whether `student` needs no further epoch."""
        course = self._course
        return (
            student.fault is not None
            or student.epoch >= course.epochs
            or has_settled(student.errors, course.patience, course.min_gain)
        )

    def _run_epoch(
        self, epoch: int, learning: Mapping[int, Sequence[Student]], progress: Callable[[int, int, str], None]
    ) -> None:
        done, total = self._steps()
        note = self._note()
        batches = self._batches(epoch)
        per_batch = sum(map(len, learning.values()))
        for number, batch in enumerate(batches):
            rate = rate_at((epoch + number / len(batches)) / self._course.epochs) * self._course.learning_rate
            for lesson in self._teacher.walk(self._images[batch], max(learning)):
                _teach(learning.get(lesson.block, ()), lesson, rate)
            progress(done + (number + 1) * per_batch, total, note)
        for group in learning.values():
            for student in group:
                student.epoch += 1

    def _validate(self, students: Mapping[int, Sequence[Student]]) -> None:
        """Note the error of `students` on the validation images."""
        present = {block: group for block, group in students.items() if group}
        if not present:
            return
        sums = {block: _Sums(group) for block, group in present.items()}
        for batch in _chunks(self._split.validation, self._course.batch_size):
            for lesson in self._teacher.walk(self._images[batch], max(present)):
                if lesson.block in sums:
                    sums[lesson.block].add(lesson)
        for block_sums in sums.values():
            block_sums.note()

    def _batches(self, epoch: int) -> list[npt.NDArray[np.intp]]:
        order = np.random.default_rng((self._course.seed, epoch)).permutation(self._split.learning)
        return list(_chunks(order, self._course.batch_size))

    def _steps(self) -> tuple[int, int]:
        """Steps done and in all; a student that stopped early has done all of its own."""
        batches = math.ceil(len(self._split.learning) / self._course.batch_size)
        everyone = [s for group in self._students.values() for s in group]
        epochs = sum(self._course.epochs if self.is_done(s) else s.epoch for s in everyone)
        return epochs * batches, len(everyone) * self._course.epochs * batches

    def _note(self) -> str:
        everyone = [s for group in self._students.values() for s in group]
        return f"{len(everyone) - sum(map(self.is_done, everyone))} of {len(everyone)} variants still learn"


def has_settled(errors: Sequence[float], patience: int, min_gain: float) -> bool:
    """Whether the last `patience` errors are not lower than all before them by the share `min_gain`."""
    return len(errors) > patience and min(errors[-patience:]) > (1 - min_gain) * min(errors[:-patience])


def rate_at(progress: float) -> float:
    """Share of the highest learning rate when the share `progress` of all steps is done."""
    rising = min(1.0, (progress + 0.01) / _WARM_UP)
    return rising * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _teach(students: Sequence[Student], lesson: Lesson, rate: float) -> None:
    """One step of each student on one batch."""
    for student in students:
        if student.fault is None:
            student.learn(partial(relative_error, target=_target(student, lesson)), lesson.input, rate)


def _target(student: Student, lesson: Lesson) -> Tensor:
    """What `student` is to give."""
    if not student.at_neck:
        return lesson.output
    assert lesson.neck is not None, "a student has a neck only where its original has one"
    return lesson.neck


def relative_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the variance of `target`, or itself where that does not vary: one value, or all equal.

    Errors of blocks become comparable, and one rate fits all.
    """
    variance = float(target.var()) if target.numel() > 1 else 0.0
    return functional.mse_loss(output, target) / (variance or 1.0)


class _Sums:
    """Squared errors of students and the variance of their targets, over the batches of the validation images."""

    def __init__(self, students: Sequence[Student]) -> None:
        self._students = students
        self._errors = [0.0] * len(students)
        self._moments = {at_neck: _Moments() for at_neck in {s.at_neck for s in students}}

    def add(self, lesson: Lesson) -> None:
        targets = {s.at_neck: _target(s, lesson) for s in self._students}
        for at_neck, target in targets.items():
            self._moments[at_neck].add(target)
        with torch.no_grad():
            for position, student in enumerate(self._students):
                difference = student.learns(lesson.input) - targets[student.at_neck]
                self._errors[position] += float(difference.double().square().sum())

    def note(self) -> None:
        for student, error in zip(self._students, self._errors, strict=True):
            student.note(error / self._moments[student.at_neck].deviation())


class _Moments:
    """Count, sum and sum of squares of a target."""

    def __init__(self) -> None:
        self._count, self._total, self._squares = 0, 0.0, 0.0

    def add(self, target: Tensor) -> None:
        wide = target.double()
        self._count += wide.numel()
        self._total += float(wide.sum())
        self._squares += float(wide.square().sum())

    def deviation(self) -> float:
        """Sum of the squared differences from the mean; 1 for a target that never changes."""
        found = self._squares - self._total**2 / self._count
        return found if found > 0 else 1.0


def _chunks(positions: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
