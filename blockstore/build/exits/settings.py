"""What a build is told about exits, in one frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from blockstore.errors import CannotBuild

METHODS: Final = ("branchynet", "flexdnn", "mxn")
"""`branchynet`: given heads, all of them kept. `flexdnn`: broad heads that are pruned, and a plan of where they pay.
`mxn`: the same with features aggregated from exit to exit, and focal loss."""
FOCUS: Final = 2.0
"""Gamma of focal loss (Lin et al. 2017, section 4.1)."""
POOLINGS: Final = ("flatten", "average", "maximum")


@dataclass(frozen=True, slots=True)
class ExitSettings:
    """Settings of the exits of one build."""

    method: str
    after: tuple[int, ...] = ()
    """Blocks after which an exit is tried; empty: after each but the last."""
    confidence: str = ""
    """`max_probability`, `entropy`, or a function `package.module:function`; empty: the method's own."""
    precision: float = 0.99
    """Accuracy that frames which leave must keep, relative to the full network, where the insertion plan is made."""
    pooling: str = "flatten"
    """What the linear layer of pruned heads reads of the map behind their convolutions: every pixel, the mean, or the
    maximum, where what matters is small and anywhere."""
    epochs: int = 3
    """Passes over the training images."""
    batch_size: int = 64
    learning_rate: float = 3e-3
    gamma: float | None = None
    """Of focal loss; 0 is cross entropy. None: the method's own, 2 for `mxn` and else 0."""
    weights: tuple[float, ...] = ()
    """Of the losses of the exits, by rising depth, in joint training; empty: all 1. That of the network's end is 1."""
    augment: bool = False
    """Shift and mirror training images: for photographs with labels."""
    sampled: float = 0.5
    """Share of the batches that come through variants drawn from the store; the others come through the originals."""
    rounds: int = 5
    """Of pruning heads, at most."""
    joint: int = 0
    """Epochs in which the network and its exits learn together first: a new backbone comes of it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, with the value, the limit and the remedy."""
        if self.method not in METHODS:
            raise CannotBuild(f"exits {self.method!r} are unknown: {', '.join(METHODS)}")
        if self.pooling not in POOLINGS:
            raise CannotBuild(f"exit pooling {self.pooling!r} is unknown: {', '.join(POOLINGS)}")
        if not 0 < self.precision <= 1:
            raise CannotBuild(f"exit precision is {self.precision}: above 0 and at most 1, as 0.99")
        if not 0 <= self.sampled <= 1:
            raise CannotBuild(f"exit sampled is {self.sampled}: a share of the batches, 0 to 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise CannotBuild(f"exit learning rate is {self.learning_rate}: give a number above 0, such as 0.003")
        if not (math.isfinite(self.focus) and self.focus >= 0):
            raise CannotBuild(f"exit gamma is {self.gamma}: 0 or more; 0 is cross entropy")
        if not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise CannotBuild(f"exit weights are {self.weights}: numbers of at least 0")
        if self.weights and not self.joint:
            raise CannotBuild(
                "exit weights are of the losses in joint training, and heads behind frozen blocks do not disturb each"
                " other: give --exits-joint EPOCHS too, or leave the weights out"
            )
        for name, least in (("epochs", 1), ("batch_size", 2), ("rounds", 0), ("joint", 0)):
            if getattr(self, name) < least:
                raise CannotBuild(
                    f"exit {name.replace('_', ' ')} is {getattr(self, name)}: it must be at least {least}"
                )

    @property
    def focus(self) -> float:
        """Gamma of the loss."""
        return self.gamma if self.gamma is not None else FOCUS if self.method == "mxn" else 0.0

    @property
    def measure(self) -> str:
        """The measure of confidence: BranchyNet's is entropy, the others' the largest probability."""
        return self.confidence or ("entropy" if self.method == "branchynet" else "max_probability")

    def places(self, blocks: int) -> tuple[int, ...]:
        """The blocks after which an exit is tried, of a network of so many; `CannotBuild` for one that there is not."""
        if not self.after:
            return tuple(range(blocks - 1))
        wrong = [place for place in self.after if not 0 <= place < blocks - 1]
        if wrong:
            raise CannotBuild(
                f"no exit can stand after block {wrong[0]}: the network has blocks 0 to {blocks - 1}, and its own end"
                " is after the last"
            )
        return tuple(sorted(set(self.after)))
