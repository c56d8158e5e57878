"""Labelled images as the builder takes them: the interface of a data provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blockstore.block import TensorSpec
from blockstore.errors import BlockStoreError, CannotBuild


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """`images` uint8 `[n, h, w, c]` as a camera gives them, `labels` int64 `[n]`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class ImageSet(Protocol):
    """A data provider, named as `package.module:factory` on the command line."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each label, in order."""
        ...

    def train(self) -> Labelled:
        """Images to retrain on; their labels are not looked at.

        They may be of another height and width than the model's input where the network takes any (convolutions
        and global pooling): smaller ones are quicker.
        """
        ...

    def held_out(self) -> Labelled:
        """Images on which accuracy is measured; none of them is in `train`."""
        ...


def training(data: ImageSet, expected: TensorSpec) -> Labelled:
    """The images to retrain on, of the channels of a model that takes `expected`; else `CannotBuild`."""
    return _check(_given(data, "train"), expected, "training", any_size=True)


def held_out(data: ImageSet, expected: TensorSpec) -> Labelled:
    """The images to measure on, with labels that `data.classes` has names for; else `CannotBuild`."""
    images = _check(_given(data, "held_out"), expected, "held-out")
    labels, classes = images.labels, len(data.classes)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise CannotBuild(
            f"the held-out labels are {labels.dtype} from {labels.min()} to {labels.max()}, "
            f"for {classes} classes they are integers from 0 to {classes - 1}"
        )
    return images


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
    if not all(isinstance(getattr(images, name, None), np.ndarray) for name in ("images", "labels")):
        raise CannotBuild(
            f"{method}() of the data gives a {type(images).__name__}, it needs arrays `images` and `labels` "
            f"(blockstore.build.images.Labelled)"
        )
    return images


def _check(images: Labelled, expected: TensorSpec, which: str, any_size: bool = False) -> Labelled:
    array: npt.NDArray[Any] = images.images
    fits = array.ndim == 4 and (array.shape[3] == expected.shape[2] if any_size else array.shape[1:] == expected.shape)
    if array.dtype != np.uint8 or not fits:
        shape = "x".join(map(str, array.shape[1:]))
        raise CannotBuild(f"the {which} images are {array.dtype}[{shape}], the model takes {expected}")
    if len(array) == 0 or len(array) != len(images.labels):
        raise CannotBuild(f"{len(array)} {which} images with {len(images.labels)} labels")
    return images
