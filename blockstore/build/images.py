"""Images as the builder takes them, with or without labels: the interface of a data provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from blockstore.block import TensorSpec
from blockstore.errors import BlockStoreError, CannotBuild

ClassLabels = npt.NDArray[np.int64]
"""`[n]`: the class of each image."""
Boxes = npt.NDArray[np.float32]
"""`[k, 5]`: x1, y1, x2, y2 in the coordinates of the decoded boxes, and the class."""
_FEWEST_FOR_EXITS: Final = 4
Labels = ClassLabels | Sequence[Boxes] | None
"""What is known of the images: a class each, the objects on each (maybe none), or nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """`images` uint8 `[n, h, w, c]` as a camera gives them, and their labels."""

    images: npt.NDArray[np.uint8]
    labels: Labels = None

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> Labelled:
        """Images `start` to `stop` (not included) with their labels; views, nothing is copied."""
        return Labelled(self.images[start:stop], None if self.labels is None else self.labels[start:stop])

    def unlabelled(self) -> Labelled:
        """The images alone."""
        return Labelled(self.images)

    def class_labels(self) -> ClassLabels:
        """`labels` where each image has a class; else `CannotBuild`."""
        if not isinstance(self.labels, np.ndarray):
            raise CannotBuild(f"the images have {_described(self.labels)}; a class for each of them is needed")
        return self.labels


class ImageSet(Protocol):
    """A data provider, named as `package.module:factory` on the command line."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each label, in order; empty where there are no classes (an embedding)."""
        ...

    def train(self) -> Labelled:
        """Images to retrain on; variants do not look at their labels, exits and refined routes (`finetune`) do.

        They may be of another height and width than the model's input where the network takes any (convolutions
        and global pooling): smaller ones are quicker.
        """
        ...

    def held_out(self) -> Labelled:
        """Images on which accuracy is measured; none of them is in `train`.

        A provider may have a method `validation` of the same kind: images for the thresholds of exits, see `for_exits`.
        """
        ...


def training(data: ImageSet, expected: TensorSpec) -> Labelled:
    """The images to retrain on, of the channels of a model that takes `expected`; else `CannotBuild`."""
    return _check(_given(data, "train"), expected, "training", any_size=True)


def held_out(data: ImageSet, expected: TensorSpec) -> Labelled:
    """The images to measure on; else `CannotBuild`. Whether the labels fit the classes, the task says."""
    return _check(_given(data, "held_out"), expected, "held-out")


def for_exits(data: ImageSet, held_out: Labelled, expected: TensorSpec) -> tuple[Labelled, Labelled]:
    """Images on which thresholds are searched, and others on which it is measured what they do.

    The first come from the data's own `validation()`, a third method that it may have, and then the second are all that
    are held out. Else each is one half of these: what a network has learnt from looks easier to it than what comes.
    """
    if hasattr(data, "validation"):
        return _check(_given(data, "validation"), expected, "validation"), held_out
    if len(held_out) < _FEWEST_FOR_EXITS:
        raise CannotBuild(
            f"there are {len(held_out)} held-out images, exits need {_FEWEST_FOR_EXITS} at least: thresholds are"
            " searched on one half and checked on the other; give more, or images of their own by validation()"
        )
    if not isinstance(held_out.labels, np.ndarray):
        half = len(held_out) // 2
        return held_out.part(0, half), held_out.part(half, len(held_out))
    # Sorted by class as they often are, each half would have its own classes. Pairs of one class stay together: what
    # an embedding finds again needs another of its kind.
    order = np.argsort(held_out.labels, kind="stable")
    first = np.arange(len(order)) // 2 % 2 == 0
    halves = [np.sort(order[side]) for side in (first, ~first)]
    searched, checked = (Labelled(held_out.images[half], held_out.labels[half]) for half in halves)
    return searched, checked


def training_for_exits(data: ImageSet, training: Labelled, expected: TensorSpec) -> Labelled:
    """Images of the model's own size: those of `train_full()`, a method that the data may have, or else `training`."""
    if hasattr(data, "train_full"):
        return _check(_given(data, "train_full"), expected, "full-size training")
    return training


def _given(data: ImageSet, method: str) -> Labelled:
    """What a method of the user's own provider gives."""
    missing = [name for name in ("classes", "train", "held_out") if not hasattr(data, name)]
    if missing:
        raise CannotBuild(
            f"the data is a {type(data).__name__} without {', '.join(missing)}; it needs `classes`, `train()` and "
            f"`held_out()` (blockstore.build.images.ImageSet)"
        )
    try:
        images: Labelled = getattr(data, method)()
    except BlockStoreError:
        raise
    except Exception as error:
        raise CannotBuild(f"{method}() of the data failed: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(images, "images", None), np.ndarray) or not hasattr(images, "labels"):
        raise CannotBuild(
            f"{method}() of the data gives a {type(images).__name__}, it needs an array `images` and `labels` "
            f"(blockstore.build.images.Labelled)"
        )
    return images


def _check(images: Labelled, expected: TensorSpec, which: str, any_size: bool = False) -> Labelled:
    array: npt.NDArray[Any] = images.images
    fits = array.ndim == 4 and (array.shape[3] == expected.shape[2] if any_size else array.shape[1:] == expected.shape)
    if array.dtype != np.uint8 or not fits:
        shape = "x".join(map(str, array.shape[1:]))
        wanted = f"[n, h, w, {expected.shape[2]}]" if any_size else f"[n, {', '.join(map(str, expected.shape))}]"
        raise CannotBuild(
            f"the {which} images are {array.dtype}[{shape}], the model takes {expected}: give uint8 {wanted} from the "
            "data, or another input of the model"
        )
    if len(array) == 0:
        raise CannotBuild(f"there are 0 {which} images; at least one is needed")
    _check_labels(images.labels, len(array), which)
    return images


def _check_labels(labels: Any, images: int, which: str) -> None:
    """Refuse labels that are neither a class for each image, nor boxes for each, nor None."""
    if labels is None:
        return
    if not isinstance(labels, np.ndarray | Sequence) or isinstance(labels, str):
        raise CannotBuild(
            f"the {which} labels are a {type(labels).__name__}: give int64 [n], a sequence of float32 [k, 5] boxes "
            f"(x1, y1, x2, y2, class), or None"
        )
    if len(labels) != images:
        raise CannotBuild(f"{images} {which} images with {len(labels)} labels: give one for each, or None for all")
    if isinstance(labels, np.ndarray):
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise CannotBuild(f"the {which} labels are {labels.dtype}{list(labels.shape)}: a class each is int64 [n]")
        return
    for position, boxes in enumerate(labels):
        fault = _fault(boxes)
        if fault:
            raise CannotBuild(f"the boxes of {which} image {position} {fault}")


def _fault(boxes: Any) -> str | None:
    """What is wrong with the boxes of one image, or None."""
    if not isinstance(boxes, np.ndarray):
        return f"are a {type(boxes).__name__}: give a float32 array [k, 5]"
    if boxes.dtype != np.float32 or boxes.ndim != 2 or boxes.shape[1] != 5:
        return f"are {boxes.dtype}{list(boxes.shape)}: give float32 [k, 5], x1, y1, x2, y2, class"
    if not np.isfinite(boxes).all():
        return "have numbers that are not finite"
    if (boxes[:, :2] > boxes[:, 2:4]).any():
        return "have a right edge left of the left one, or a lower above the upper: give x1, y1, x2, y2, class"
    return None


def _described(labels: Labels) -> str:
    return "no labels" if labels is None else f"labels of type {type(labels).__name__}"
