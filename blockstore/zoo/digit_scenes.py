"""Handwritten digits in scenes: real labelled 8x8 digits, enlarged and put into a 112x112 camera frame. NumPy only.

The digits are those of scikit-learn (`load_digits`): the test part of "Optical Recognition of Handwritten Digits",
E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0. A scene gives
its digit a random size, place, contrast and polarity on a sloping, noisy background among scraps of other digits:
what a camera adds. The label stays that of the digit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SIZE: Final = 112
"""Height and width of a frame in pixels."""
CLASSES: Final = tuple("0123456789")
LEVELS: Final = 16.0
"""Ink of the original digits goes from 0 to 16."""

Floats = npt.NDArray[np.float64]


def frames(digits: npt.NDArray[np.uint8], seeds: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """One scene for each of `digits`, uint8 `[n, 8, 8]` of 0 to 16, drawn by its seed; returns `[n, 112, 112, 1]`."""
    scenes = [frame(d, digits[int(s) % len(digits)], int(s)) for d, s in zip(digits, seeds, strict=True)]
    return np.stack(scenes)


def frame(digit: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """The scene `seed` of `digit` among scraps of `other`, both uint8 `[8, 8]`; returns uint8 `[112, 112, 1]`."""
    # RandomState and not Generator: its stream is frozen (NEP 19), so these are the same frames everywhere.
    draw = np.random.RandomState(seed)
    extent = draw.uniform(0.45, 0.95) * SIZE
    corner = draw.uniform(0.0, SIZE - extent, size=2)
    ink = _enlarged(digit, corner, extent)
    for _ in range(SCRAPS):
        ink = np.maximum(ink, _scrap(other, draw))
    contrast = draw.uniform(*CONTRAST) * draw.choice((-1.0, 1.0))
    ramp = np.linspace(-0.5, 0.5, SIZE)
    slope = draw.uniform(-0.3, 0.3, size=2)
    light = 0.5 - 0.5 * contrast + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    noise = draw.normal(0.0, draw.uniform(0.02, NOISE), size=(SIZE, SIZE))
    scene = light + contrast * ink + noise
    return np.asarray(np.clip(255.0 * scene, 0, 255), dtype=np.uint8)[:, :, None]


SCRAPS: Final = 3
CONTRAST: Final = (0.35, 0.9)
NOISE: Final = 0.12


def _scrap(digit: npt.NDArray[np.uint8], draw: np.random.RandomState) -> Floats:
    """A 3x3 piece of `digit` somewhere in the frame, small."""
    row, column = draw.randint(0, 6, size=2)
    extent = draw.uniform(0.1, 0.2) * SIZE
    return _enlarged(digit[row : row + 3, column : column + 3], draw.uniform(0.0, SIZE - extent, size=2), extent)


def _enlarged(digit: npt.NDArray[np.uint8], corner: Floats, extent: float) -> Floats:
    """`digit` as ink from 0 to 1, `extent` pixels wide at `corner` (row, column) of an empty frame."""
    rows = _weights(corner[0], extent, digit.shape[0])
    columns = _weights(corner[1], extent, digit.shape[1])
    return np.clip(rows @ (digit / LEVELS) @ columns.T, 0.0, 1.0)


def _weights(start: float, extent: float, cells: int) -> Floats:
    """Cubic convolution (Keys 1981, equation 15) from `cells` to the pixels of a frame, `[112, cells]`."""
    centre = (np.arange(SIZE) + 0.5 - start) * cells / extent - 0.5
    distance = np.abs(centre[:, None] - np.arange(cells)[None, :])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
