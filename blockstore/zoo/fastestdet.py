"""Decoding of FastestDet (X. Ma 2022, github.com/dog-qiuqiu/FastestDet, BSD-3): 80 classes of COCO in a 352x352 frame.

It takes BGR / 255 and has one output, float32 `[n, 85, 22, 22]`. At each of the 22x22 places: whether there is an
object (0 to 1), offset of its centre in x and y, its width and height, and the 80 classes (softmax). Constants and
formulas are those of `handle_preds` in the author's utils/tool.py at commit 50473cd.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from blockstore.errors import CannotBuild
from blockstore.zoo.boxes import Floats, boxes_of, suppressed

MIN_SCORE: Final = 0.65
"""What the author's test.py shows; his evaluation of average precision takes all above 0.25."""
MAX_OVERLAP: Final = 0.45
_CLASSES_FROM: Final = 5
"""Channels before those of the classes."""
_OBJECT_POWER: Final = 0.6
_CLASS_POWER: Final = 0.4


def boxes(output: Floats, min_score: float = MIN_SCORE) -> list[Floats]:
    """Objects in each image of a batch: float32 `[k, 6]` as in `blockstore.zoo.boxes`, highest score first."""
    if getattr(output, "ndim", 0) != 4 or output.shape[1] <= _CLASSES_FROM:
        raise CannotBuild("FastestDet has one output of [n, 85, 22, 22]; this network gives something else")
    return [_decode(image, min_score) for image in output]


def _decode(places: Floats, min_score: float) -> Floats:
    """Boxes of one image, `[85, height, width]`."""
    height, width = places.shape[1:]
    scores = places[0] ** _OBJECT_POWER * places[_CLASSES_FROM:].max(axis=0) ** _CLASS_POWER
    rows, columns = np.nonzero(scores > min_score)
    found = places[:, rows, columns]
    offsets, sizes = np.tanh(found[1:3]), 1 / (1 + np.exp(-found[3:5]))
    centres = (np.stack([columns, rows]) + offsets) / [[width], [height]]
    decoded = boxes_of(centres.T, sizes.T, scores[rows, columns], found[_CLASSES_FROM:].argmax(axis=0))
    return suppressed(decoded, MAX_OVERLAP)
