"""Augmentation of small photographs: shifted by up to four pixels, and half of them mirrored (He et al. 2015, 4.2)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SHIFT: Final = 4
"""Largest shift in pixels, in each direction."""

Images = npt.NDArray[np.uint8]


def augmented(images: Images, draw: np.random.Generator) -> Images:
    """A new array of the same shape as `images` `[n, h, w, c]`; what a shift brings in from outside is mirrored."""
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    corners = draw.integers(0, 2 * SHIFT + 1, (len(images), 2))
    mirrored = draw.random(len(images)) < 0.5
    shifted = [p[top : top + height, left : left + width] for p, (top, left) in zip(padded, corners, strict=True)]
    return np.stack([s[:, ::-1] if m else s for s, m in zip(shifted, mirrored, strict=True)])
