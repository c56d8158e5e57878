"""Fine-tune: single routes are refined as a whole, on labels; the result is a further variant of each of their blocks.

A route is named by the reshaping that all its blocks have: `skip:1` is that variant of every block that has one, and
the original of the others, which stays as it is. Its parts learn together what the blocks alone cannot know: which
errors cancel out and which matter. What they become (`skip:1@labels`, and `skip:1+int8@labels` where `skip:1+int8` is
wanted) is still interchangeable, and is measured like every other variant. It runs on the CPU; a build that is killed
meanwhile begins this route again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore import torchform
from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.craft import Order, computing
from blockstore.build.cut import CutBlock
from blockstore.build.encode import SAMPLES
from blockstore.build.export import Forms, export
from blockstore.build.images import ClassLabels, Labelled
from blockstore.build.kinds.base import FAILURES, Declined, Facts, Material, reason_of
from blockstore.build.kinds.registry import Recipe
from blockstore.build.layout import channels_last
from blockstore.build.material import Library
from blockstore.build.progress import Progress
from blockstore.build.retrain import Course, Split, rate_at
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.teacher import Images, Teacher
from blockstore.build.variants import Dropped, Finished, drop, find, keep
from blockstore.errors import CannotBuild

SUFFIX: Final = "@labels"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What routes are refined on."""

    images: Images
    labels: ClassLabels
    split: Split
    """Learnt from are the images that variants learn from; the validation images say which epoch was the best."""
    course: Course


def check(shapes: Sequence[str], recipes: Sequence[Recipe], task: Task, training: Labelled, classes: int) -> None:
    """Refuse, before hours of work, a route of a shape that no variant has, and labels that teach nothing."""
    if not shapes:
        return
    own = [recipe.text for recipe in recipes if recipe.encoding is None]
    for shape in shapes:
        if shape not in own:
            known = ", ".join(own) or "there is none"
            raise CannotBuild(f"finetune {shape!r} is none of the variants in full precision: {known}")
    if not isinstance(task, Classification):
        raise CannotBuild(f"finetune takes labels of classes; the task is {task.key}")
    labels = training.class_labels()
    if labels.min() < 0 or labels.max() >= classes:
        raise CannotBuild(
            f"finetune: the training labels are from {labels.min()} to {labels.max()}, for {classes} classes they are"
            f" from 0 to {classes - 1}"
        )


def refine_all(
    shapes: Sequence[str],
    blocks: Sequence[CutBlock],
    finished: Sequence[Finished],
    order: Order,
    labels: ClassLabels,
    progress: Progress,
) -> tuple[tuple[Finished, ...], tuple[Dropped, ...]]:
    """`finished` and the refined variants of the routes of `shapes`, by block, and those that came to nothing.

    `labels` are those of the images of `order`, whose course is taken again.
    """
    images = np.load(order.images, mmap_mode="r", allow_pickle=False)
    split = Split.of(len(images), order.validation_images, order.calibration_images, order.course.seed)
    lesson = Lesson(images, labels, split, order.course)
    with computing(order.threads):
        outcomes = [o for shape in shapes for o in refine(shape, blocks, finished, order, lesson, progress)]
    everyone = [*finished, *(o for o in outcomes if isinstance(o, Finished))]
    # Within a block the order stays: the original is first.
    return tuple(sorted(everyone, key=lambda f: f.block)), tuple(o for o in outcomes if isinstance(o, Dropped))


def refine(
    shape: str,
    blocks: Sequence[CutBlock],
    finished: Sequence[Finished],
    order: Order,
    lesson: Lesson,
    progress: Progress,
) -> Sequence[Finished | Dropped]:
    """The refined variants of the route of `shape`; what the work folder has of them is taken from there."""
    parts = [f for f in finished if f.name == shape]
    wanted = [r for r in order.recipes if r.shape == shape]
    work = Work(order.folder)
    known = [find(work, part.block, r.text + SUFFIX) for part in parts for r in wanted]
    found = [outcome for outcome in known if outcome is not None]
    return found if len(found) == len(known) else _refined(parts, wanted, blocks, finished, order, lesson, progress)


def _refined(
    parts: Sequence[Finished],
    wanted: Sequence[Recipe],
    blocks: Sequence[CutBlock],
    finished: Sequence[Finished],
    order: Order,
    lesson: Lesson,
    progress: Progress,
) -> Sequence[Finished | Dropped]:
    learning = {part.block: _module(part) for part in parts}
    originals = {f.block: f for f in finished if f.name == ORIGINAL}
    route = [learning.get(b.index) or _module(originals[b.index]) for b in blocks]
    epoch = _train(route, list(learning.values()), lesson, progress)
    library = Library(
        Teacher(blocks),
        lesson.images,
        lesson.split,
        order.task,
        order.outputs,
        order.latencies_ms,
        order.course.batch_size,
    )
    work, results = Work(order.folder), list[Finished | Dropped]()
    for part in parts:
        block, module = blocks[part.block], learning[part.block]
        material = library.material(block.index, order.width_multiple, order.course.seed)
        inputs = library.sample(block.index, SAMPLES, blocks[0].input)
        for recipe in wanted:
            name = recipe.text + SUFFIX
            try:
                if epoch is None:
                    raise Declined("its loss became no number; lower the learning rate")
                forms, facts = _written(recipe, block, module, material, inputs)
            except CannotBuild as error:
                results.append(drop(work, block.index, name, str(error)))
            except FAILURES as failure:
                results.append(drop(work, block.index, name, reason_of(failure)))
            else:
                made = {**facts, "refined_epochs": epoch}
                results.append(keep(work, block.index, name, recipe.kind + SUFFIX, forms, made))
    return results


def _written(
    recipe: Recipe, block: CutBlock, module: fx.GraphModule, material: Material, inputs: Tensor
) -> tuple[Forms, Facts]:
    forms = export(module, block.input, inputs)
    if recipe.encoding is None:
        return forms, {}
    encoded = recipe.encoding.encode(block, module, forms, material)
    return encoded.forms, encoded.facts


def _train(route: Sequence[nn.Module], learning: Sequence[nn.Module], lesson: Lesson, progress: Progress) -> int | None:
    """Cross entropy down a rate that rises and then falls; leaves the best weights, of the epoch returned.

    Epoch 0 is what was there before; None where the loss became no number.
    """
    for module in learning:
        channels_last(module).requires_grad_(True)
    parameters = [p for m in learning for p in m.parameters()]
    course, optimiser = lesson.course, torch.optim.Adam(parameters)
    steps = -(-len(lesson.split.learning) // course.batch_size)
    best, kept, epoch_of_best = _error(route, lesson), [p.detach().clone() for p in parameters], 0
    for epoch in range(course.epochs):
        order = np.random.default_rng((course.seed, epoch)).permutation(lesson.split.learning)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = course.learning_rate * rate_at((epoch + step / steps) / course.epochs)
            batch = order[step * course.batch_size : (step + 1) * course.batch_size]
            loss = functional.cross_entropy(_outputs(route, lesson, batch), torch.from_numpy(lesson.labels[batch]))
            if not torch.isfinite(loss):
                return None
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            progress("finetune", epoch * steps + step + 1, course.epochs * steps)
        error = _error(route, lesson)
        if error < best:
            best, kept, epoch_of_best = error, [p.detach().clone() for p in parameters], epoch + 1
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.requires_grad_(False).copy_(value)
    return epoch_of_best


def _error(route: Sequence[nn.Module], lesson: Lesson) -> float:
    """Cross entropy on the validation images."""
    total, positions = 0.0, lesson.split.validation
    with torch.no_grad():
        for start in range(0, len(positions), lesson.course.batch_size):
            batch = positions[start : start + lesson.course.batch_size]
            outputs, labels = _outputs(route, lesson, batch), torch.from_numpy(lesson.labels[batch])
            total += float(functional.cross_entropy(outputs, labels, reduction="sum"))
    return total / len(positions)


def _outputs(route: Sequence[nn.Module], lesson: Lesson, batch: npt.NDArray[np.intp]) -> Tensor:
    # A memory-mapped file is read-only, a tensor is not: a copy of one batch.
    x: Tensor = torch.from_numpy(np.array(lesson.images[batch]))
    for module in route:
        x = module(x)
    return x


def _module(finished: Finished) -> fx.GraphModule:
    forms = finished.forms()
    assert forms.torch is not None, "a reshaping has both forms"
    return torchform.load(forms.torch)
