"""Normalisation: frames as a camera gives them become what a network was trained on."""

from __future__ import annotations

import pytest
import torch

from blockstore.zoo.preprocess import Preprocess


def test_frames_become_normalised_channels_first() -> None:
    frames = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    expected = ((frames / 255 - mean) / std).permute(0, 3, 1, 2)
    assert torch.allclose(Preprocess((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))(frames), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "scale"), [((0.0,), (1.0, 1.0), 255.0), ((0.0,), (0.0,), 255.0), ((0.0,), (1.0,), 0.0)]
)
def test_a_normalisation_that_divides_by_nothing_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float
) -> None:
    with pytest.raises(ValueError, match=r"must be above 0|one of each per channel"):
        Preprocess(mean, std, scale)
