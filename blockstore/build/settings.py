"""What a build is told: every number that decides what comes out, in one frozen value."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Final

from blockstore.block import TensorSpec
from blockstore.build.exits.settings import ExitSettings
from blockstore.errors import CannotBuild

DEFAULT_VARIANTS: Final = ("prune:0.25", "prune:0.5", "prune:0.75", "skip:1", "int8", "prune:0.5+int8")
"""A range of speeds for most networks: fewer filters, fewer units, lower precision."""
_ASIDE: Final = frozenset(
    {"name", "variants", "finetune", "exits", "fit_routes", "check_routes", "processes", "device"}
)
"""Settings that do not decide what a single variant becomes: which ones there are, how they are measured, and where."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Settings of one build.

    Two builds with equal settings, weights and images make equal variants on one machine, save for what they measure:
    where `blocks` cuts, whether aligned widths are quicker, and which variants others dominate.
    """

    name: str
    input: TensorSpec
    """What the served model takes: uint8 `(h, w, c)`."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    blocks: int = 4
    cuts: tuple[str, ...] = ()
    """Layers after which to cut, in place of `blocks` of about equal latency."""
    variants: tuple[str, ...] = DEFAULT_VARIANTS
    """Recipes of the variants that are tried for each block (`kinds.registry`)."""
    width_multiple: int = 8
    """Kept widths are multiples of it where that measures no slower: engines compute in groups of channels."""
    epochs: int = 4
    """At most; a variant whose error no longer falls stops earlier."""
    batch_size: int = 16
    learning_rate: float = 2e-3
    """Highest; small batches at a high rate taught variants of ResNet-20 most per second."""
    patience: int = 2
    """Epochs without a gain after which a variant is done."""
    min_gain: float = 0.01
    """Share by which the validation error must fall to count as a gain."""
    validation_images: int = 256
    """Training images that nothing is trained on; they decide when to stop."""
    calibration_images: int = 256
    """Training images that the kinds look at (`kinds.base.Material`)."""
    finetune: tuple[str, ...] = ()
    """Reshapings whose uniform routes are refined on labels afterwards (`finetune`)."""
    exits: ExitSettings | None = None
    """Heads at the cuts, at which easy frames leave; None: there are none."""
    task: str = "classification"
    """What accuracy means (`tasks`)."""
    fit_routes: int = 40
    """Sampled combinations whose measured accuracy joins the fit of the accuracy model."""
    check_routes: int = 16
    """Further combinations on which the accuracy model is checked."""
    threads: int = 1
    """CPU threads of each process."""
    processes: int = 1
    device: str = "auto"
    """`auto`, `cpu` or `cuda`: where variants are retrained."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no build can mean, with the value, the limit and the remedy."""
        self._check_frames()
        if not self.variants:
            raise CannotBuild("no variants are asked for: name at least one, such as prune:0.5")
        if self.device not in ("auto", "cpu", "cuda"):
            raise CannotBuild(f"device is {self.device!r}: auto, cpu or cuda")
        self._at_least(
            1, "blocks", "width_multiple", "batch_size", "threads", "processes", "patience", "calibration_images"
        )
        self._at_least(0, "epochs", "fit_routes", "check_routes", "seed", "validation_images", "min_gain")
        self._check_training()

    def _check_frames(self) -> None:
        """Frames are a camera's, and every channel is scaled by numbers that can be divided by."""
        if self.input.dtype != "uint8" or len(self.input.shape) != 3 or min(self.input.shape) < 1:
            raise CannotBuild(f"input is {self.input}: models take camera frames, uint8 height x width x channels")
        channels = self.input.shape[2]
        if len(self.mean) != channels or len(self.std) != channels:
            raise CannotBuild(
                f"mean has {len(self.mean)} and std {len(self.std)} values; the input has {channels} channels: give "
                "one of each per channel"
            )
        if not all(map(math.isfinite, self.mean)):
            raise CannotBuild(f"mean is {self.mean}: give finite numbers, of pixels divided by scale")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise CannotBuild(
                f"std is {self.std}: frames are divided by it; give numbers above 0, or 1 to leave it out"
            )
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise CannotBuild(f"scale is {self.scale}: pixels are divided by it; give a number above 0, such as 255")

    def _check_training(self) -> None:
        """Numbers with which something is learnt."""
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise CannotBuild(f"learning_rate is {self.learning_rate}: give a number above 0, such as 0.002")
        if self.min_gain >= 1:
            raise CannotBuild(
                f"min_gain is {self.min_gain}: an error cannot fall by that share of itself; give less than 1, as 0.01"
            )
        if self.finetune and self.epochs == 0:
            raise CannotBuild(
                f"epochs is 0, with which finetune {' '.join(self.finetune)} learns nothing: give 1 or more"
            )
        if len(set(self.finetune)) < len(self.finetune):
            raise CannotBuild(f"finetune is {' '.join(self.finetune)}: name each variant once")

    def _at_least(self, limit: int, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= limit:
                raise CannotBuild(f"{name} is {getattr(self, name)}: it must be at least {limit}")

    def key(self, *inputs: bytes) -> str:
        """Name under which work in progress is kept: a hash of what decides what variants become, and of `inputs`."""
        deciding = {name: value for name, value in asdict(self).items() if name not in _ASIDE}
        if self.exits is not None and self.exits.joint:
            # Variants are made of the backbone that learnt together with these exits.
            deciding["exits"] = asdict(self.exits)
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
        for part in inputs:
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:16]
