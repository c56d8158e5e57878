"""Labelled images as the builder takes them: the interface of a data provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blockstore.block import TensorSpec
from blockstore.errors import CannotBuild


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


def check(images: Labelled, expected: TensorSpec, which: str, any_size: bool = False) -> Labelled:
    """`images`, if they are what a model of input `expected` takes; else `CannotBuild` says what they are.

    With `any_size` only the number of channels must be that of the model.
    """
    array: npt.NDArray[Any] = images.images
    fits = array.ndim == 4 and (array.shape[3] == expected.shape[2] if any_size else array.shape[1:] == expected.shape)
    if array.dtype != np.uint8 or not fits:
        shape = "x".join(map(str, array.shape[1:]))
        raise CannotBuild(f"the {which} images are {array.dtype}[{shape}], the model takes {expected}")
    if len(array) == 0 or len(array) != len(images.labels):
        raise CannotBuild(f"{len(array)} {which} images with {len(images.labels)} labels")
    return images
