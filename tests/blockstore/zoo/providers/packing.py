"""Small packed data sets, of one colour for each image or of pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def pack(
    path: Path,
    greys: Sequence[int],
    labels: Sequence[int],
    size: tuple[int, int],
    kind: str,
    **arrays: npt.NDArray[Any],
) -> None:
    """Write images of `size` (width, height), `kind` `jpeg` or `png`, and further arrays."""
    width, height = size
    pictures = [np.full((height, width), grey, np.uint8) for grey in greys]
    pack_pictures(path, pictures, labels, kind, **arrays)


def pack_pictures(
    path: Path, pictures: Sequence[npt.NDArray[np.uint8]], labels: Sequence[int], kind: str, **arrays: npt.NDArray[Any]
) -> None:
    """Write `pictures`, each `[height, width]` of greys, `kind` `jpeg` (in colour) or `png`, and further arrays."""
    blobs = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).convert("L" if kind == "png" else "RGB").save(file, kind)
        blobs.append(file.getvalue())
    blob = np.frombuffer(b"".join(blobs), np.uint8)
    offsets = np.cumsum([0, *map(len, blobs)])
    np.savez(path, **{kind: blob}, offsets=offsets, labels=np.array(labels, np.uint8), **arrays)  # type: ignore[arg-type]  # numpy types savez for no keywords
