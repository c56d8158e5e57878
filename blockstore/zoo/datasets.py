"""Data providers for `schedulerd build --data`: labelled images with a fixed held-out part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild

class Cifar10:
    """CIFAR-10 as JPEG in `train.npz` and `test.npz` of `folder` (`jpeg` blob, `offsets`, `labels`, `classes`).

    `train_limit` and `test_limit` take that many images from the front (0: all).
    """

    def __init__(self, folder: Path, train_limit: int, test_limit: int) -> None:
        self._folder = folder
        self._limits = {"train": train_limit, "test": test_limit}
        with np.load(self._file("test"), allow_pickle=False) as file:
            self.classes = tuple(str(c) for c in file["classes"])

    def train(self) -> Labelled:
        """The training images."""
        return self._read("train")

    def held_out(self) -> Labelled:
        """The test images."""
        return self._read("test")

    def _read(self, part: str) -> Labelled:
        with np.load(self._file(part), allow_pickle=False) as file:
            blob, offsets, labels = file["jpeg"].tobytes(), file["offsets"], file["labels"].astype(np.int64)
        count = self._limits[part] or len(labels)
        pairs = zip(offsets[:count], offsets[1 : count + 1], strict=True)
        images = np.stack([_decode(blob[start:end]) for start, end in pairs])
        return Labelled(images, labels[:count])

    def _file(self, part: str) -> Path:
        path = self._folder / f"{part}.npz"
        if not path.is_file():
            raise CannotBuild(f"{path} is not there: give the folder of train.npz and test.npz as ?path=FOLDER")
        return path


def cifar10(path: str, train_limit: int = 0, test_limit: int = 0) -> Cifar10:
    """CIFAR-10 from the folder `path`."""
    return Cifar10(Path(path), train_limit, test_limit)


def _decode(jpeg: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
