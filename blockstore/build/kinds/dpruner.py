"""D-Pruner: filters that learned masks give up for nearly every image go, `dpruner:K[,T]` (thesis, chapter 4).

One turn of its loop on one block; `dpruner:0.2+dpruner:0.2` is two. In place of labels the masks are trained against
the output of the original block, like all variants (LegoDNN, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx
from torch.nn import functional

from blockstore.build.cut import CutBlock
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Material, Reshaped, Reshaping
from blockstore.build.kinds.masking import Choice, Schedule, prune_once
from blockstore.errors import CannotBuild

THRESHOLD: Final = 0.95
"""Of the images, as in the thesis, section 4.4.1."""


def _adam(parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
    """Adam does not see the scale of a loss: masks and weights of any block are trained by one rate each."""
    return torch.optim.Adam(parameters, rate)


SCHEDULE: Final = Schedule(mask_epochs=4, joint_epochs=4, mask_rate=1e-2, joint_rate=1e-3, optimiser=_adam)


def parse(arguments: Sequence[str]) -> Reshaping:
    """The kind of `K[,T]`; raises `CannotBuild`."""
    given.check_count(arguments, 1, 2, "dpruner:K or dpruner:K,T")
    share = given.share(arguments[0], "the share of filters that is masked")
    threshold = given.share(arguments[1], "the share of images") if len(arguments) > 1 else THRESHOLD
    if share >= threshold:
        raise CannotBuild(
            f"{share:g} of the filters are masked and those masked in more than {threshold:g} of the images go: "
            "all filters might; mask fewer"
        )
    return DPruner(Choice(share, threshold))


@dataclass(frozen=True, slots=True)
class DPruner:
    """Removes the filters that masking blocks, trained for this block, zero nearly always."""

    choice: Choice

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        """`module` without those filters, its weights as the training with masks left them."""
        pruned = prune_once(module, block.input, material.batches, relative_error, self.choice, SCHEDULE, material.seed)
        if pruned.filters_after == pruned.filters_before:
            raise Declined(
                f"no filter was masked in more than {self.choice.threshold:g} of the images, the most in "
                f"{pruned.most_masked:.3g}: lower T or mask more filters"
            )
        return Reshaped(pruned.module, {"filters_before": pruned.filters_before, "filters_after": pruned.filters_after})


def relative_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error as a share of the variance of `target`."""
    return functional.mse_loss(output, target) / target.var().clamp(min=1e-30)
