"""How near an encoded block comes to the original one: measured on what the block really gets, never refused."""

from __future__ import annotations

import math

import numpy as np

from blockstore.build.cut import CutBlock
from blockstore.build.export import run, session
from blockstore.build.kinds.base import Declined, Material


def has_served_size(block: CutBlock, material: Material) -> bool:
    """Whether calibration images are of the size that is served, which is the only one that an ONNX form takes."""
    inputs, _ = next(material.batches())
    return tuple(inputs.shape[1:]) == block.input.shape


def encoding_error(onnx: bytes, material: Material) -> float:
    """Mean squared error of `onnx` over the variance of the original's output, on all calibration batches.

    0 is a copy; 1 is as good as always giving the mean. Calibration images are of the size that is served. Raises
    `Declined` where an output is not a number.
    """
    loaded = session(onnx, threads=1)
    count, total, squares, errors = 0, 0.0, 0.0, 0.0
    for inputs, expected in material.batches():
        target = expected.numpy().astype(np.float64)
        count += target.size
        total += float(target.sum())
        squares += float(np.square(target).sum())
        errors += float(np.square(run(loaded, inputs.numpy()) - target).sum())
    if not math.isfinite(errors):
        raise Declined("its output on the calibration images is not a number")
    variance = squares / count - (total / count) ** 2
    return float(f"{errors / count / (variance if variance > 0 else 1.0):.3g}")
