"""Heads learn together, batch by batch, from what the blocks before them give.

The blocks are frozen and do not know of the heads, so that blocks stay interchangeable and heads do not disturb each
other: the weighted sum of the losses (BranchyNet, section III-A) has the minima of its parts. The weights count where
the blocks learn as well (`joint`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blockstore.build.exits.heads import Head
from blockstore.build.exits.losses import Loss
from blockstore.build.kinds.base import Declined
from blockstore.build.layout import channels_last
from blockstore.build.retrain import rate_at
from blockstore.build.student import BETAS

WEIGHT_DECAY = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What heads learn from at one time."""

    features: Mapping[int, Tensor]
    """Block -> its output for these frames, `[batch, ...]`."""
    target: Tensor


@dataclass(slots=True, eq=False)
class Learner:
    """A head under training."""

    inputs: tuple[int, ...]
    """Blocks whose outputs it takes; its own comes last."""
    head: Head
    loss: Loss
    weight: float = 1.0
    """Of its loss in the sum."""

    @property
    def block(self) -> int:
        """After which it stands."""
        return self.inputs[-1]

    def logits(self, features: Mapping[int, Tensor]) -> Tensor:
        """What it makes of the outputs of blocks."""
        found: Tensor = self.head(*(features[block] for block in self.inputs))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """What learns besides the heads where training is joint."""

    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch], Tensor]
    """Of the network's own end, with its weight."""
    rate: float = 0.1
    """Its learning rate, as a share of that of the heads: it has learnt before."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast heads learn."""

    batches: int
    """In all; the rate rises over the first and falls over all of them on a cosine."""
    learning_rate: float = 3e-3
    progress: Callable[[int, int], None] | None = None
    """Told after each batch how many are done, and how many there are."""


def teach(learners: Sequence[Learner], stream: Iterable[Batch], pace: Pace, backbone: Backbone | None = None) -> None:
    """Let `learners` learn from the first `pace.batches` batches of `stream`; they are left in evaluation mode.

    Raises `Declined` where a loss becomes infinite or no number.
    """
    optimiser = _optimiser(learners, pace.learning_rate, backbone)
    for learner in learners:
        channels_last(learner.head).requires_grad_(True).train()
    for number, batch in zip(range(pace.batches), stream, strict=False):
        loss = torch.stack([ln.weight * ln.loss(ln.logits(batch.features), batch.target) for ln in learners]).sum()
        if backbone is not None:
            loss = loss + backbone.loss(batch)
        if not math.isfinite(float(loss.detach())):
            raise Declined(f"the loss of the exits became {float(loss.detach())}: lower the learning rate")
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * rate_at(number / pace.batches)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        if pace.progress is not None:
            pace.progress(number + 1, pace.batches)
    for learner in learners:
        learner.head.requires_grad_(False).eval()


def _optimiser(learners: Sequence[Learner], rate: float, backbone: Backbone | None) -> torch.optim.Optimizer:
    groups = [{"params": [p for ln in learners for p in ln.head.parameters()], "highest": rate}]
    if backbone is not None:
        groups.append({"params": list(backbone.parameters), "highest": rate * backbone.rate})
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
