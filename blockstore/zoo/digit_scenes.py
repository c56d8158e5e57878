"""Handwritten digits in scenes: real labelled 8x8 digits, enlarged and put somewhere in a camera frame. NumPy only.

The digits are those of scikit-learn (`load_digits`): the test part of "Optical Recognition of Handwritten Digits",
E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0. A scene gives
its digit a random size, place and contrast on sloping, noisy paper among scraps of other digits:
what a camera adds. The label stays that of the digit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SIZE: Final = 144
"""Height and width of the frames that the demo serves, in pixels."""
CLASSES: Final = tuple("0123456789")
LEVELS: Final = 16.0
"""Ink of the original digits goes from 0 to 16."""
EXTENT: Final = (14.0, 22.0)
"""Height and width of an enlarged digit in pixels, smallest and largest; the same in frames of any size."""
SCRAP_EXTENT: Final = (4.0, 6.0)
PIXELS_PER_SCRAP: Final = 2500
CONTRAST: Final = (0.3, 0.9)
NOISE: Final = (0.02, 0.12)
"""Standard deviation of the noise, as a share of full scale."""

Floats = npt.NDArray[np.float64]


def frames(digits: npt.NDArray[np.uint8], seeds: npt.NDArray[np.int64], size: int = SIZE) -> npt.NDArray[np.uint8]:
    """One scene for each of `digits`, uint8 `[n, 8, 8]` of 0 to 16, drawn by its seed; `[n, size, size, 1]`."""
    scenes = [frame(d, digits[int(s) % len(digits)], int(s), size) for d, s in zip(digits, seeds, strict=True)]
    return np.stack(scenes)


def frame(
    digit: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], seed: int, size: int = SIZE
) -> npt.NDArray[np.uint8]:
    """The scene `seed` of `digit` among scraps of `other`, both uint8 `[8, 8]`; uint8 `[size, size, 1]`."""
    # RandomState and not Generator: its stream is frozen (NEP 19), so these are the same frames everywhere.
    draw = np.random.RandomState(seed)
    extent = draw.uniform(*EXTENT)
    ink = _enlarged(digit, draw.uniform(0.0, size - extent, size=2), extent, size)
    for _ in range(1 + size * size // PIXELS_PER_SCRAP):
        ink = np.maximum(ink, _scrap(other, draw, size))
    contrast = draw.uniform(*CONTRAST)
    ramp = np.linspace(-0.5, 0.5, size)
    slope = draw.uniform(-0.3, 0.3, size=2)
    paper = 0.5 + 0.5 * contrast + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    noise = draw.normal(0.0, draw.uniform(*NOISE), size=(size, size))
    return np.asarray(np.clip(255.0 * (paper - contrast * ink + noise), 0, 255), dtype=np.uint8)[:, :, None]


def _scrap(digit: npt.NDArray[np.uint8], draw: np.random.RandomState, size: int) -> Floats:
    """A 3x3 piece of `digit` somewhere in the frame, small."""
    row, column = draw.randint(0, 6, size=2)
    extent = draw.uniform(*SCRAP_EXTENT)
    corner = draw.uniform(0.0, size - extent, size=2)
    return _enlarged(digit[row : row + 3, column : column + 3], corner, extent, size)


def _enlarged(digit: npt.NDArray[np.uint8], corner: Floats, extent: float, size: int) -> Floats:
    """`digit` as ink from 0 to 1, `extent` pixels wide at `corner` (row, column) of an empty frame."""
    rows = _weights(corner[0], extent, digit.shape[0], size)
    columns = _weights(corner[1], extent, digit.shape[1], size)
    return np.clip(rows @ (digit / LEVELS) @ columns.T, 0.0, 1.0)


def _weights(start: float, extent: float, cells: int, size: int) -> Floats:
    """Cubic convolution (Keys 1981, equation 15) from `cells` to the pixels of a frame, `[size, cells]`."""
    centre = (np.arange(size) + 0.5 - start) * cells / extent - 0.5
    distance = np.abs(centre[:, None] - np.arange(cells)[None, :])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
