"""Prune: a block with fewer inner filters (LegoDNN, section 4.1), `prune:RATIO[,l1|l2|activation]`.

RATIO is the share of the filters of every inner group that goes. Those go that are worth least: by the L1 or L2 norm
of a filter and of what reads it, or by what it contributes to its readers on images (`activation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx

from blockstore.build.cut import CutBlock
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Facts, Material, Reshaped, Reshaping
from blockstore.build.kinds.contribution import contributions
from blockstore.build.kinds.filters import FilterGroup, inner_groups, norms, without
from blockstore.build.kinds.widths import quicker, round_up
from blockstore.errors import CannotBuild

IMPORTANCES: Final = ("l1", "l2", "activation")


def parse(arguments: Sequence[str]) -> Reshaping:
    """The kind of `RATIO[,IMPORTANCE]`; raises `CannotBuild`."""
    given.check_count(arguments, 1, 2, f"prune:RATIO or prune:RATIO,{'|'.join(IMPORTANCES)}")
    importance = arguments[1] if len(arguments) > 1 else IMPORTANCES[0]
    if importance not in IMPORTANCES:
        raise CannotBuild(f"importance is {importance!r}: one of {', '.join(IMPORTANCES)}")
    return Prune(given.share(arguments[0], "the share of filters that goes"), importance)


@dataclass(frozen=True, slots=True)
class Prune:
    """Removes the share `ratio` of the filters of each inner group, those of least `importance`."""

    ratio: float
    importance: str

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        """`module` with exact widths, or with widths rounded up where they are measured no slower."""
        groups = inner_groups(module, block.input)
        before = {group.root: group.filters for group in groups}
        exact = {root: kept_filters(filters, self.ratio) for root, filters in before.items()}
        self._check(before, exact)
        aligned = {root: min(round_up(kept, material.width_multiple), before[root]) for root, kept in exact.items()}
        scores = self._scores(module, block, groups, material)
        pruned, kept = _keep(module, block, scores, exact), exact
        facts: Facts = {"widths": "exact"}
        if aligned not in (exact, before):
            pruned, facts = quicker(pruned, _keep(module, block, scores, aligned), block.input, material)
            kept = aligned if facts["widths"] == "aligned" else exact
        return Reshaped(pruned, {"filters_before": sum(before.values()), "filters_after": sum(kept.values()), **facts})

    def _check(self, before: Mapping[str, int], exact: Mapping[str, int]) -> None:
        if not before:
            raise Declined(
                "no inner filters: every convolution reaches the block's input or output, or meets a constant for each "
                "of its channels; cut larger blocks"
            )
        if exact == before:
            raise Declined(
                f"without {self.ratio:g} of them all {sum(before.values())} inner filters stay (the widest of the "
                f"groups has {max(before.values())}): raise the ratio"
            )

    def _scores(
        self, module: fx.GraphModule, block: CutBlock, groups: Sequence[FilterGroup], material: Material
    ) -> Mapping[str, Tensor]:
        if self.importance == "activation":
            return contributions(module, groups, material.batches())
        return norms(module, block.input, {"l1": 1, "l2": 2}[self.importance])


def kept_filters(filters: int, ratio: float) -> int:
    """How many of `filters` stay when the share `ratio` goes, at least one."""
    return max(1, int(filters * (1 - ratio) + 0.5))


def _keep(
    module: fx.GraphModule, block: CutBlock, scores: Mapping[str, Tensor], kept: Mapping[str, int]
) -> fx.GraphModule:
    """`module` with the `kept` best filters of each group; equal scores go in order."""
    doomed = {
        root: torch.argsort(scores[root], stable=True)[: len(scores[root]) - count].tolist()
        for root, count in kept.items()
    }
    return without(module, block.input, doomed)
