"""What a build is told: every number that decides what comes out, in one frozen value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from blockstore.block import TensorSpec
from blockstore.errors import CannotBuild


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Settings of one build. Two builds with equal settings, weights and images make equal stores."""

    name: str
    input: TensorSpec
    """What the served model takes: uint8 `(h, w, c)`."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    blocks: int = 4
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Share of the inner filters of a block that each variant loses."""
    width_multiple: int = 4
    """Kept widths are multiples of it: engines compute in groups of 4, 8 or 16 channels, odd widths cost the same."""
    importance: str = "l1"
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-3
    fit_routes: int = 24
    """Random routes whose measured accuracy joins the fit of the accuracy drops."""
    check_routes: int = 16
    """Further random routes on which the prediction is checked."""
    threads: int = 2
    device: str = "auto"
    """`auto`, `cpu` or `cuda`: where variants are retrained."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no build can mean, with the value and the limit."""
        if self.input.dtype != "uint8" or len(self.input.shape) != 3:
            raise CannotBuild(f"input is {self.input}: models take camera frames, uint8 height x width x channels")
        channels = self.input.shape[2]
        if len(self.mean) != channels or len(self.std) != channels:
            raise CannotBuild(
                f"mean has {len(self.mean)} and std {len(self.std)} values; the input has {channels} channels"
            )
        if not self.ratios or not all(0 < r < 1 for r in self.ratios):
            raise CannotBuild(f"ratios are {self.ratios}: each is a share between 0 and 1")
        if self.importance not in ("l1", "l2"):
            raise CannotBuild(f"importance is {self.importance!r}: l1 or l2")
        if self.device not in ("auto", "cpu", "cuda"):
            raise CannotBuild(f"device is {self.device!r}: auto, cpu or cuda")
        for name in ("blocks", "width_multiple", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise CannotBuild(f"{name} is {getattr(self, name)}: it must be at least 1")
        if min(self.epochs, self.fit_routes, self.check_routes, self.seed) < 0:
            raise CannotBuild("epochs, fit_routes, check_routes and seed must not be negative")

    def key(self, *inputs: bytes) -> str:
        """Name under which work in progress is kept: a hash of the settings and of `inputs` (weights, images)."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for part in inputs:
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:16]
