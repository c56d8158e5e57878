"""The loss that `small_detector` is trained with: cross entropy of object, place and class, squared error of size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from blockstore.build.images import Boxes, Labelled
from blockstore.errors import CannotBuild
from blockstore.zoo.small_detector import GEOMETRY, PRIOR_CELLS


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What one output should say of `k` objects; all other places should say that there is none."""

    places: tuple[Tensor, Tensor, Tensor]
    """Image, row and column of each object, int64 `[k]`."""
    offsets: Tensor
    """Place of the centre inside of its cell, 0 to 1, `[k, 2]`: x, y."""
    sizes: Tensor
    """Logarithm of width and height over the prior, `[k, 2]`."""
    classes: Tensor
    """int64 `[k]`."""


def detector_loss(outputs: Sequence[Tensor], batch: Labelled) -> Tensor:
    """Loss of a batch whose labels are boxes; each object belongs to the scale whose prior is nearest to its size."""
    if batch.labels is None or isinstance(batch.labels, np.ndarray):
        raise CannotBuild("a detector is trained on images whose labels are boxes, one array for each image")
    objects = _flattened(batch.labels)
    grids = [(output.shape[3], output.shape[2]) for output in outputs]
    scales = _scales(objects, grids)
    losses = [_scale_loss(o, targets(objects[scales == s], grids[s])) for s, o in enumerate(outputs)]
    return torch.stack(losses).sum() / max(1, len(objects))


def targets(objects: npt.NDArray[np.float32], grid: tuple[int, int]) -> Targets:
    """Targets of `objects` `[k, 6]` (number of the image, then a labelled box) on a grid of columns and rows."""
    cells = np.array(grid, dtype=np.float32)
    centres = (objects[:, 1:3] + objects[:, 3:5]) / 2 * cells
    corner = np.clip(np.floor(centres), 0, cells - 1)
    spans = (objects[:, 3:5] - objects[:, 1:3]) * cells / PRIOR_CELLS
    image, column, row = (torch.from_numpy(v.astype(np.int64)) for v in (objects[:, 0], corner[:, 0], corner[:, 1]))
    return Targets(
        (image, row, column),
        torch.from_numpy(np.clip(centres - corner, 0, 1)),
        torch.from_numpy(np.log(np.maximum(spans, 1e-3))),
        torch.from_numpy(objects[:, 5].astype(np.int64)),
    )


def _flattened(labels: Sequence[Boxes]) -> npt.NDArray[np.float32]:
    """All boxes of a batch, `[k, 6]`, each behind the number of its image."""
    numbered = [np.insert(boxes, 0, image, axis=1) for image, boxes in enumerate(labels)]
    return np.concatenate(numbered).astype(np.float32)


def _scales(objects: npt.NDArray[np.float32], grids: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The scale of each object: where the logarithm of its size over the prior is nearest to 0."""
    spans = np.maximum(objects[:, 3:5] - objects[:, 1:3], 1e-3)
    ratios = [np.abs(np.log(spans * np.array(grid) / PRIOR_CELLS).mean(axis=1)) for grid in grids]
    return np.asarray(np.argmin(ratios, axis=0))


def _scale_loss(output: Tensor, target: Targets) -> Tensor:
    """Sum of the losses of one output, `[n, 5 + classes, rows, columns]`."""
    image, row, column = target.places
    found = output[image, :, row, column]
    occupied = torch.zeros_like(output[:, 0])
    occupied[image, row, column] = 1
    return (
        functional.binary_cross_entropy_with_logits(output[:, 0], occupied, reduction="sum")
        + functional.binary_cross_entropy_with_logits(found[:, 1:3], target.offsets, reduction="sum")
        + functional.mse_loss(found[:, 3:GEOMETRY], target.sizes, reduction="sum")
        + functional.cross_entropy(found[:, GEOMETRY:], target.classes, reduction="sum")
    )
