"""Boxes of detected objects: what decoding gives, and which of several on one object stays."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.build.tasks.detection import intersection_over_union

Floats = npt.NDArray[np.float32]
SCORE: Final = 4
CLASS: Final = 5
"""Columns of a box: left, top, right, bottom as shares of width and height (0 to 1), score (0 to 1), class."""


def boxes_of(
    centres: npt.NDArray[np.floating], sizes: npt.NDArray[np.floating], scores: Floats, classes: npt.NDArray[np.int64]
) -> Floats:
    """float32 `[k, 6]` of centres and sizes `[k, 2]` (x, y; shares of width and height), scores and classes `[k]`."""
    return np.column_stack([centres - sizes / 2, centres + sizes / 2, scores, classes]).astype(np.float32)


def suppressed(boxes: Floats, max_overlap: float) -> Floats:
    """`boxes` `[k, 6]`, highest score first, without those that overlap a better one of their class by more."""
    boxes = boxes[np.argsort(-boxes[:, SCORE], kind="stable")]
    overlaps = intersection_over_union(boxes[:, :SCORE], boxes[:, :SCORE])
    rivals = (overlaps > max_overlap) & (boxes[:, None, CLASS] == boxes[None, :, CLASS])
    stays = np.ones(len(boxes), dtype=bool)
    for index in range(len(boxes)):
        if stays[index]:
            stays[index + 1 :] &= ~rivals[index, index + 1 :]
    return boxes[stays]
