"""From camera frames to what a network takes: the first operators of block 0 of every served model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Preprocess(nn.Module):
    """uint8 `[batch, h, w, c]` to normalised float32 `[batch, c, h, w]`: `(x / scale - mean) / std`.

    It stands before the network when that is traced, so that every artifact of block 0 takes camera frames.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], scale: float = 255.0) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels and std has {len(std)}: give one of each per channel")
        if scale <= 0 or any(s <= 0 for s in std):
            raise ValueError(f"scale {scale} and std {std} must be above 0")
        self.mean, self.std, self.scale = tuple(mean), tuple(std), scale
        # One multiplication and one addition per pixel instead of three operators.
        gain = [1.0 / (scale * s) for s in std]
        offset = [-m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("gain", torch.tensor(gain).view(1, -1, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, -1, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise `frames`, uint8 `[batch, h, w, c]`; returns float32 `[batch, c, h, w]`."""
        return frames.permute(0, 3, 1, 2).to(torch.float32) * self.gain + self.offset
