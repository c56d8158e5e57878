"""CIFAR-10 as JPEG: `train.npz` and `test.npz`, each with arrays `jpeg`, `offsets`, `labels`, `classes`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild
from blockstore.zoo.providers import packed


@dataclass(frozen=True, slots=True)
class Cifar10:
    """The training images, and an interval of the test images as the held-out part. See `cifar10`."""

    folder: Path
    classes: tuple[str, ...]
    train_limit: int
    test_first: int
    test_limit: int

    def train(self) -> Labelled:
        """The first `train_limit` training images, or all of them."""
        return self._part("train", 0, self.train_limit)

    def held_out(self) -> Labelled:
        """The test images from `test_first` on, `test_limit` of them or all."""
        return self._part("test", self.test_first, self.test_limit)

    def _part(self, part: str, first: int, limit: int) -> Labelled:
        images = packed.read(self.folder / f"{part}.npz", "jpeg")
        chosen = range(first, min(first + limit, len(images)) if limit else len(images))
        if not chosen:
            raise CannotBuild(f"{images.path} has {len(images)} images, none from number {first} on: lower test_first")
        return Labelled(images.images(chosen), images.labels[chosen.start : chosen.stop])


def cifar10(path: str, train_limit: int = 0, test_first: int = 0, test_limit: int = 0) -> Cifar10:
    """CIFAR-10 from the folder `path`.

    Held out are `test_limit` test images from number `test_first` on, so that two builds, or a build and what checks
    it, can have test images of their own. A limit of 0 means all.
    """
    folder = Path(path)
    return Cifar10(folder, packed.classes(folder / "test.npz"), train_limit, test_first, test_limit)
