"""Compressed images of one data set in one `.npz`: a blob of JPEG or PNG, offsets, labels. NumPy and Pillow only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from blockstore.errors import CannotBuild

Images = npt.NDArray[np.uint8]
"""uint8 `[n, height, width, 3]`, RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Image `i` is `blob[offsets[i]:offsets[i + 1]]`, its class is `labels[i]`."""

    path: Path
    blob: bytes
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, chosen: Iterable[int]) -> Images:
        """The chosen images in that order as RGB, uint8 `[n, h, w, 3]`; they must be of one size."""
        decoded = [self._decode(i) for i in chosen]
        if not decoded:
            raise CannotBuild(f"no image of the {len(self)} in {self.path} is chosen: widen the limits")
        sizes = {image.shape for image in decoded}
        if len(sizes) > 1:
            raise CannotBuild(f"images of {self.path} are of different sizes: {', '.join(map(str, sorted(sizes)))}")
        return np.stack(decoded)

    def _decode(self, index: int) -> npt.NDArray[np.uint8]:
        data = self.blob[self.offsets[index] : self.offsets[index + 1]]
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
        except OSError as error:
            raise CannotBuild(f"image {index} of {self.path} cannot be decoded: {error}") from error


def read(path: Path, blob: str) -> Packed:
    """The images of `path`, which are in its array `blob` (`jpeg` or `png`); else `CannotBuild`."""
    arrays = _arrays(path, (blob, "offsets", "labels"))
    offsets, labels = arrays["offsets"].astype(np.int64), arrays["labels"].astype(np.int64)
    if len(offsets) != len(labels) + 1:
        raise CannotBuild(f"{path} has {len(offsets)} offsets for {len(labels)} labels; there must be one more")
    return Packed(path, arrays[blob].tobytes(), offsets, labels)


def classes(path: Path) -> tuple[str, ...]:
    """Names of the classes, from the array `classes` of `path`."""
    return tuple(str(name) for name in _arrays(path, ("classes",))["classes"])


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.generic]]:
    if not path.is_file():
        raise CannotBuild(f"{path} is not there: give the folder that holds {path.name} as ?path=FOLDER")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise CannotBuild(f"{path} has no array {', '.join(missing)}; it has {', '.join(file.files)}")
            return {name: file[name] for name in names}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CannotBuild(f"{path} cannot be read as .npz: {error}") from error
