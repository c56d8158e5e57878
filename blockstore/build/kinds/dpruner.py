"""D-Pruner: filters that learned masks give up for nearly every image go, `dpruner:K[,T]` (thesis, chapter 4).

One turn of its loop (Algorithm 2) on one block; `dpruner:0.2+dpruner:0.2` is two. It differs from the thesis in this:

- Masks, and weights with them, learn the output of the original block and no labels, like all variants (LegoDNN,
  section 4.1); in a block that ends in a vector they learn at its neck, where variants do (`blockstore.build.neck`).
- They learn, and masked filters are counted, on the calibration images, a few hundred; the thesis takes all training
  images (section 4.3.2). A share of 95% of 256 images is known to 1.4 points (one standard error).
- Epochs are fixed, 4 of the masks alone and 4 of everything, by Adam; the thesis trains for 35 in all (section 4.4.1).
- The fine-tuning of what is left is the retraining that all variants get, and the loop ends where the recipe does, not
  where accuracy falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, fx

from blockstore.build.cut import CutBlock
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Material, Reshaped, Reshaping
from blockstore.build.kinds.filters import prunable
from blockstore.build.kinds.masking import Batches, Choice, Pruned, Schedule, adam, prune_once
from blockstore.build.neck import up_to_neck, where_to_learn, with_front
from blockstore.build.retrain import relative_error
from blockstore.errors import CannotBuild

THRESHOLD: Final = 0.95
"""Of the images, as in the thesis, section 4.4.1."""


SCHEDULE: Final = Schedule(mask_epochs=4, joint_epochs=4, mask_rate=1e-2, joint_rate=1e-3, optimiser=adam)


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
        front = where_to_learn(module, block.module, block.input)
        if front is None or not prunable(front, block.input):
            pruned = self._prune(module, block, material.batches, material.seed)
            made = pruned.module
        else:
            pruned = self._prune(front, block, partial(_up_to_neck, block, material), material.seed)
            made = with_front(module, pruned.module)
        if pruned.filters_after == pruned.filters_before:
            raise Declined(
                f"no filter was masked in more than {self.choice.threshold:g} of the images, the most in "
                f"{pruned.most_masked:.3g}: lower T or mask more filters"
            )
        return Reshaped(made, {"filters_before": pruned.filters_before, "filters_after": pruned.filters_after})

    def _prune(self, module: fx.GraphModule, block: CutBlock, lessons: Batches, seed: int) -> Pruned:
        return prune_once(module, block.input, lessons, relative_error, self.choice, SCHEDULE, seed)


def _up_to_neck(block: CutBlock, material: Material) -> Iterator[tuple[Tensor, Tensor]]:
    """Input of the original block and what it has at its neck."""
    original = up_to_neck(block.module, block.input)
    assert original is not None, "a variant learns at the neck only where the original has one"
    for inputs, _ in material.batches():
        with torch.no_grad():
            target = original(inputs)
        yield inputs, target
