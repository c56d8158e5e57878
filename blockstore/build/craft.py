"""Craft: the variants of blocks, from recipe to file.

    reshape each distinct module -> retrain all of them together -> export, encode and keep each variant

Every step is kept in the work folder, and what is there is not done again: a build that was killed, at any moment, ends
in the same bytes as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch

from blockstore.block import ORIGINAL, TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock, partition
from blockstore.build.encode import SAMPLES, Bench, encode
from blockstore.build.keep import get_block, put_block
from blockstore.build.kinds.base import Latencies
from blockstore.build.kinds.registry import Recipe
from blockstore.build.material import Library
from blockstore.build.neck import where_to_learn
from blockstore.build.progress import Progress
from blockstore.build.retrain import Course, Retraining, Split
from blockstore.build.shapes import NoShape, Shape, make_shapes
from blockstore.build.student import Student, dump, restore
from blockstore.build.tasks.base import Task
from blockstore.build.teacher import Images, Teacher
from blockstore.build.variants import Dropped, Finished, find, without_twins
from blockstore.build.workers import Job, run_jobs

_TIMED_FRAMES: Final = 32
"""At most, to tell how to share blocks out; no more than a batch, which is what memory is reckoned with."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of all blocks. It goes to other processes, so it names files, not what is in them."""

    recipes: tuple[Recipe, ...]
    blocks: int
    images: Path
    """Training images: a .npy file, uint8 `[n, h, w, c]`, which is mapped, not read."""
    folder: Path
    """The work folder of this build (`checkpoint.Work`)."""
    course: Course
    validation_images: int
    calibration_images: int
    width_multiple: int
    task: Task
    outputs: tuple[TensorSpec, ...]
    """Of the network."""
    latencies_ms: Latencies
    threads: int
    """CPU threads of each process."""


def craft_all(
    blocks: Sequence[CutBlock], order: Order, processes: int, progress: Progress
) -> tuple[tuple[Finished, ...], tuple[Dropped, ...]]:
    """Every variant of every block, the original of each first; what the work folder has is taken from there.

    The result does not depend on `processes`, of which each has a run of neighbouring blocks. Raises `CannotBuild`
    where the disk is full, a process dies, or an original block has no form that an engine runs.
    """
    work = Work(order.folder)
    work.sweep()
    for block in blocks:
        put_block(work, block)
    images = np.load(order.images, mmap_mode="r", allow_pickle=False)
    with computing(order.threads):
        seconds = _seconds(blocks, images[: min(_TIMED_FRAMES, order.course.batch_size)])
    groups = _groups(seconds, processes)
    run_jobs([Job(_title(group), partial(craft, order, group)) for group in groups], progress)
    results = [
        found
        for block in blocks
        for found in without_twins(one for one in _outcomes(order, block.index).values() if one is not None)
    ]
    return (
        tuple(found for found in results if isinstance(found, Finished)),
        tuple(found for found in results if isinstance(found, Dropped)),
    )


def craft(order: Order, blocks: Sequence[int], progress: Progress) -> None:
    """Make what is missing of the variants of `blocks`; raises as `craft_all` does."""
    missing = {index: names for index in blocks if (names := _missing(order, index))}
    if not missing:
        return
    with computing(order.threads):
        originals = [get_block(Work(order.folder), index) for index in range(order.blocks)]
        images = np.load(order.images, mmap_mode="r", allow_pickle=False)
        split = Split.of(len(images), order.validation_images, order.calibration_images, order.course.seed)
        teacher = Teacher(originals, order.course.device)
        library = Library(
            teacher, images, split, order.task, order.outputs, order.latencies_ms, order.course.batch_size
        )
        benches = _reshape(order, [originals[index] for index in missing], missing, library, progress)
        learners = {bench.block.index: list(bench.students.values()) for bench in benches}
        _retrain(Retraining(teacher, learners, images, split, order.course), learners, Work(order.folder), progress)
        _encode(order, benches, missing, progress)


def _reshape(
    order: Order,
    originals: Sequence[CutBlock],
    missing: Mapping[int, Sequence[str]],
    library: Library,
    progress: Progress,
) -> list[Bench]:
    """All shapes of the blocks, with a student for each that a missing variant needs."""
    names = {recipe.shape for recipe in order.recipes} - {ORIGINAL}
    total, done = len(names) * len(originals), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress("reshape", done, total)

    progress("reshape", 0, total)
    benches, frames = [], get_block(Work(order.folder), 0).input
    for block in originals:
        material = library.material(block.index, order.width_multiple, order.course.seed)
        shapes = make_shapes(block, order.recipes, material, Work(order.folder), advance)
        wanted = [r.shape for r in order.recipes if r.text in missing[block.index]]
        students = _students(block, shapes, wanted, order.course)
        benches.append(Bench(block, material, library.sample(block.index, SAMPLES, frames), shapes, students))
    return benches


def _students(
    block: CutBlock, shapes: Mapping[str, Shape | NoShape], wanted: Sequence[str], course: Course
) -> dict[str, Student]:
    """A student for each distinct one of the `wanted` shapes, by its digest; the original has nothing to learn."""
    made = {s.digest: s for s in map(shapes.__getitem__, wanted) if isinstance(s, Shape) and s.name != ORIGINAL}
    originals = {s.digest for s in shapes.values() if isinstance(s, Shape) and s.name == ORIGINAL}
    return {
        digest: Student(digest, s.module, course.device, where_to_learn(s.module, block.module, block.input))
        for digest, s in made.items()
        if digest not in originals
    }


def _retrain(retraining: Retraining, learners: Mapping[int, Sequence[Student]], work: Work, progress: Progress) -> None:
    """Train the students from where they were kept, and keep them after every epoch."""
    for block, students in learners.items():
        kept = work.get(_training_file(block))
        if kept is not None:
            restore(students, kept)
    retraining.run(
        partial(progress, "retrain"),
        lambda block: work.put(_training_file(block), dump(learners[block], retraining.is_done)),
    )


def _encode(order: Order, benches: Sequence[Bench], missing: Mapping[int, Sequence[str]], progress: Progress) -> None:
    work, total, done = Work(order.folder), sum(map(len, missing.values())), 0
    progress("encode", 0, total)
    for bench in benches:
        for _ in encode(bench, order.recipes, missing[bench.block.index], work):
            done += 1
            progress("encode", done, total)
        work.discard(_training_file(bench.block.index))


def _outcomes(order: Order, block: int) -> dict[str, Finished | Dropped | None]:
    """What became of each variant of `block`, the original first; None where it is still to be made."""
    work = Work(order.folder)
    return {name: find(work, block, name) for name in (ORIGINAL, *(recipe.text for recipe in order.recipes))}


def _missing(order: Order, block: int) -> tuple[str, ...]:
    return tuple(name for name, found in _outcomes(order, block).items() if found is None)


def _training_file(block: int) -> str:
    return f"training/{block:03}.safetensors"


def _groups(seconds: Sequence[float], processes: int) -> list[range]:
    """Neighbouring blocks of about equal time for each process: a prefix of the network runs for each group."""
    bounds = partition(seconds, min(processes, len(seconds)), useful=lambda *_: True)
    return [range(first, last) for first, last in pairwise(bounds)]


def _seconds(blocks: Sequence[CutBlock], frames: Images) -> list[float]:
    """How long each block takes; the first pass only warms up."""
    for _ in range(2):
        x, seconds = torch.from_numpy(np.array(frames)), []
        for block in blocks:
            start = time.perf_counter()
            with torch.no_grad():
                x = block.module(x)
            seconds.append(time.perf_counter() - start)
    return seconds


def _title(group: range) -> str:
    return f"block {group[0]}" if len(group) == 1 else f"blocks {group[0]} to {group[-1]}"


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """`threads` threads for torch, and the same convolutions on a GPU every time (of those that cuDNN knows)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        try:
            yield
        finally:
            torch.set_num_threads(before)
