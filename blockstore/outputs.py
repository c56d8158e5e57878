"""Several outputs of a network lie side by side in the one tensor that the last block gives."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from blockstore.block import TensorSpec


def unpack(packed: npt.NDArray[Any], outputs: tuple[TensorSpec, ...]) -> tuple[npt.NDArray[Any], ...]:
    """What the last block gave, `[batch, total]`, as the outputs of a `Model`: views `[batch, *shape]`, in order.

    Where there are no `outputs`, it is the only one itself.
    """
    if not outputs:
        return (packed,)
    ends = list(accumulate(math.prod(spec.shape) for spec in outputs))
    parts = np.split(packed, ends[:-1], axis=1)
    return tuple(part.reshape(len(packed), *spec.shape) for part, spec in zip(parts, outputs, strict=True))
