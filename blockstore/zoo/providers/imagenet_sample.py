"""A sample of ImageNet: centre crops of 224x224 in `crops.npz` with arrays `jpeg`, `offsets`, `labels` (0 to 999)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild
from blockstore.zoo.providers import packed
from blockstore.zoo.providers.names import read_names

CLASSES: Final = 1000
HELD_OUT_EVERY: Final = 3


@dataclass(frozen=True, slots=True)
class ImageNetSample:
    """Every third crop is held out. Labels are raised by `background` (0 or 1). See `imagenet_sample`."""

    path: Path
    classes: tuple[str, ...]
    background: int
    train_limit: int
    test_limit: int

    def train(self) -> Labelled:
        """The crops that are not held out."""
        return self._part(False, self.train_limit)

    def held_out(self) -> Labelled:
        """Every third crop, so that both parts come from all over the classes."""
        return self._part(True, self.test_limit)

    def _part(self, held_out: bool, limit: int) -> Labelled:
        crops = packed.read(self.path, "jpeg")
        third = np.arange(len(crops)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        chosen = np.flatnonzero(third == held_out)[: limit or None]
        return Labelled(crops.images(chosen.tolist()), crops.labels[chosen] + self.background)


def imagenet_sample(
    path: str, background: int = 0, names: str = "", train_limit: int = 0, test_limit: int = 0
) -> ImageNetSample:
    """Crops of ImageNet from the folder `path`.

    `background=1` is for networks whose class 0 is the background (TensorFlow's): labels are 1 to 1000. `names` is a
    text file with the name of each class on a line, with the background if there is one; without it, classes are
    named by their number. A limit of 0 means all.
    """
    if background not in (0, 1):
        raise CannotBuild(f"background is {background}: 1 where the network's class 0 is the background, else 0")
    count = CLASSES + background
    classes = read_names(Path(names), count) if names else tuple(map(str, range(count)))
    return ImageNetSample(Path(path) / "crops.npz", classes, background, train_limit, test_limit)
