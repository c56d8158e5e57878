"""Faces of the ORL database in `orl.npz` with arrays `png`, `offsets`, `labels`: several pictures of each person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild
from blockstore.zoo.providers import packed

SIZE: Final = 112
"""Height and width of a frame, as face embeddings take them."""
HELD_OUT_FROM: Final = 30
"""Of 40 persons, the first that is held out."""


@dataclass(frozen=True, slots=True)
class Faces:
    """An interval of the persons is held out, and those before it are for training. See `faces`."""

    path: Path
    classes: tuple[str, ...]
    held_out_persons: range
    labelled: bool
    mirrored: bool

    def train(self) -> Labelled:
        """Every picture of the persons before the held-out ones, and its mirror image where that is wanted."""
        part = self._part(range(self.held_out_persons.start))
        return _with_mirror_images(part) if self.mirrored else part

    def held_out(self) -> Labelled:
        """Every picture of the held-out persons."""
        return self._part(self.held_out_persons)

    def _part(self, persons: range) -> Labelled:
        pictures = packed.read(self.path, "png")
        chosen = np.flatnonzero(np.isin(pictures.labels, persons))
        labels = pictures.labels[chosen] if self.labelled else None
        return Labelled(_squared(pictures.images(chosen.tolist())), labels)


def faces(
    path: str, held_out_from: int = HELD_OUT_FROM, held_out_to: int = 0, labelled: int = 1, mirrored: int = 0
) -> Faces:
    """Faces from the folder `path`: uint8 RGB `[n, 112, 112, 3]`, labels are persons.

    Persons `held_out_from` to `held_out_to` (not included, 0: the last one is) are held out, with all of their
    pictures: two builds, or a build and what checks it, can have persons of their own. `labelled=0` leaves the labels
    out: a route is then judged by how near its vectors are to the original's. `mirrored=1` adds the mirror image of
    each training picture.
    """
    file = Path(path) / "orl.npz"
    persons = int(packed.read(file, "png").labels.max(initial=-1)) + 1
    held_out = range(held_out_from, held_out_to or persons)
    if not 0 < held_out.start < held_out.stop <= persons:
        raise CannotBuild(
            f"held out are persons {held_out.start} to {held_out.stop} of {persons}: leave some before them to train on"
        )
    classes = tuple(f"person {i}" for i in range(persons))
    return Faces(file, classes, held_out, bool(labelled), bool(mirrored))


def _with_mirror_images(part: Labelled) -> Labelled:
    labels = None if part.labels is None else np.concatenate([part.class_labels()] * 2)
    return Labelled(np.concatenate([part.images, part.images[:, :, ::-1]]), labels)


def _squared(images: packed.Images) -> packed.Images:
    """`images` with black added on all sides up to the size of a frame: a face keeps its proportions."""
    height, width = images.shape[1:3]
    if max(height, width) > SIZE:
        raise CannotBuild(f"pictures are {width}x{height}: at most {SIZE}x{SIZE} fit into a frame")
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    frames = np.zeros((len(images), SIZE, SIZE, 3), np.uint8)
    frames[:, top : top + height, left : left + width] = images
    return frames
