"""Fine-tune: single routes are refined as a whole, on labels; the result is a further variant of each of their blocks.

A route is named by the reshaping that all its blocks have: `skip:1` is that variant of every block that has one, and
the original of the others, which stays as it is. Its parts learn together what the blocks alone cannot know: which
errors cancel out and which matter. What they become (`skip:1@labels`, and `skip:1+int8@labels` where `skip:1+int8` is
wanted) is still interchangeable, and is measured like every other variant.
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
from blockstore.build.craft import Order
from blockstore.build.cut import CutBlock
from blockstore.build.encode import SAMPLES
from blockstore.build.export import export
from blockstore.build.images import ClassLabels, Labelled
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.registry import Recipe
from blockstore.build.layout import channels_last
from blockstore.build.material import Library
from blockstore.build.progress import Progress
from blockstore.build.retrain import Split, rate_at
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.teacher import Images, Teacher
from blockstore.build.variants import Dropped, Finished, drop, find, keep
from blockstore.errors import CannotBuild

SUFFIX: Final = "@labels"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What routes are refined on, and how."""

    images: Images
    labels: ClassLabels
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


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
    images, course = np.load(order.images, mmap_mode="r", allow_pickle=False), order.course
    lesson = Lesson(images, labels, course.epochs, course.batch_size, course.learning_rate, course.seed)
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
    fault = _train(route, list(learning.values()), lesson, progress)
    split = Split.of(len(lesson.images), order.validation_images, order.calibration_images, order.course.seed)
    teacher = Teacher(blocks)
    library = Library(teacher, lesson.images, split, order.task, order.latency_ms, order.course.batch_size)
    results: list[Finished | Dropped] = []
    for part in parts:
        block = blocks[part.block]
        module = learning[part.block].requires_grad_(False)
        material = library.material(block.index, order.width_multiple, order.course.seed)
        inputs = library.sample(block.index, SAMPLES, blocks[0].input)
        for recipe in wanted:
            work, name = Work(order.folder), recipe.text + SUFFIX
            try:
                if fault:
                    raise Declined(fault)
                forms = export(module, block.input, inputs)
                encoded = recipe.encoding and recipe.encoding.encode(block, module, forms, material)
            except Declined as declined:
                results.append(drop(work, block.index, name, str(declined)))
                continue
            facts = {**part.facts, **(encoded.facts if encoded else {}), "refined_epochs": lesson.epochs}
            kind = f"{recipe.kind}{SUFFIX}"
            results.append(keep(work, block.index, name, kind, encoded.forms if encoded else forms, facts))
    return results


def _train(route: Sequence[nn.Module], learning: Sequence[nn.Module], lesson: Lesson, progress: Progress) -> str | None:
    """Cross entropy on the labels, down a rate that rises and then falls; returns why it came to nothing, if it did."""
    for module in learning:
        channels_last(module).requires_grad_(True)
    optimiser = torch.optim.Adam([p for m in learning for p in m.parameters()])
    batches = -(-len(lesson.images) // lesson.batch_size)
    for step in range(lesson.epochs * batches):
        epoch, position = divmod(step, batches)
        batch = _batch(lesson, epoch, position)
        optimiser.param_groups[0]["lr"] = lesson.learning_rate * rate_at(step / (lesson.epochs * batches))
        x: Tensor = torch.from_numpy(np.array(lesson.images[batch]))
        for module in route:
            x = module(x)
        loss = functional.cross_entropy(x, torch.from_numpy(lesson.labels[batch]))
        if not torch.isfinite(loss):
            return f"its loss became {float(loss.detach())} in epoch {epoch + 1}; lower the learning rate"
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        progress("finetune", step + 1, lesson.epochs * batches)
    return None


def _batch(lesson: Lesson, epoch: int, position: int) -> npt.NDArray[np.intp]:
    order = np.random.default_rng((lesson.seed, epoch)).permutation(len(lesson.images))
    return order[position * lesson.batch_size : (position + 1) * lesson.batch_size]


def _module(finished: Finished) -> fx.GraphModule:
    forms = finished.forms()
    assert forms.torch is not None, "a reshaping has both forms"
    return torchform.load(forms.torch)
