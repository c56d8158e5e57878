"""What the demo's clients stream: labelled digit scenes that no network of the demo store was trained on. NumPy only.

`digits-heldout.npz` holds the 8x8 originals and their labels; their scenes are drawn when a client starts. The digits
are E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0, as scikit-learn ships them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blockstore.zoo import digit_scenes

HELD_OUT = Path(__file__).with_name("digits-heldout.npz")
ARCHIVE = Path(__file__).with_name("demo-store.tar")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """`images` uint8 `[n, h, w, 1]` as a camera gives them, `labels` int64 `[n]`, 0 to 9."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def held_out(path: Path = HELD_OUT) -> Frames:
    """The held-out scenes, those on which the accuracy of the demo's models was measured; takes about 0.3 s."""
    with np.load(path, allow_pickle=False) as file:
        digits, labels = file["digits"], file["labels"].astype(np.int64)
    return Frames(digit_scenes.frames(digits, np.arange(len(labels))), labels)
