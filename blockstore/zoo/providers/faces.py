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


@dataclass(frozen=True, slots=True)
class Faces:
    """The last `held_out_persons` persons are held out, with all of their pictures. See `faces`."""

    path: Path
    classes: tuple[str, ...]
    held_out_persons: int

    def train(self) -> Labelled:
        """Every picture of the other persons."""
        return self._part(False)

    def held_out(self) -> Labelled:
        """Every picture of the held-out persons."""
        return self._part(True)

    def _part(self, held_out: bool) -> Labelled:
        pictures = packed.read(self.path, "png")
        first = len(self.classes) - self.held_out_persons
        chosen = np.flatnonzero((pictures.labels >= first) == held_out)
        return Labelled(_squared(pictures.images(chosen.tolist())), pictures.labels[chosen])


def faces(path: str, held_out_persons: int = 10) -> Faces:
    """Faces from the folder `path`: uint8 RGB `[n, 112, 112, 3]`, labels are persons."""
    file = Path(path) / "orl.npz"
    persons = int(packed.read(file, "png").labels.max(initial=-1)) + 1
    if not 0 < held_out_persons < persons:
        raise CannotBuild(f"held_out_persons is {held_out_persons}, of {persons} persons: leave some for training")
    return Faces(file, tuple(f"person {i}" for i in range(persons)), held_out_persons)


def _squared(images: packed.Images) -> packed.Images:
    """`images` with black added on all sides up to the size of a frame: a face keeps its proportions."""
    height, width = images.shape[1:3]
    if max(height, width) > SIZE:
        raise CannotBuild(f"pictures are {width}x{height}: at most {SIZE}x{SIZE} fit into a frame")
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    frames = np.zeros((len(images), SIZE, SIZE, 3), np.uint8)
    frames[:, top : top + height, left : left + width] = images
    return frames
