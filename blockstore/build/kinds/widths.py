"""Widths that engines like: rounded up to whole groups of channels, where that is measured to cost no time."""

from __future__ import annotations

from typing import Final

from torch import fx

from blockstore.block import TensorSpec
from blockstore.build.kinds.base import Facts, Material

NOISE: Final = 0.02
"""Share by which latencies of equal modules differ, measured in turns while other programs ran: of 180 comparisons of a
block of ResNet-20 or ResNet-18 with its own copy 3 were above it, the largest was 0.030. Timed one after the other 22
were, and the largest ratio was 2.24."""


def round_up(width: int, multiple: int) -> int:
    """The next multiple of `multiple` from `width` upwards."""
    return -(-width // multiple) * multiple


def quicker(
    exact: fx.GraphModule, aligned: fx.GraphModule, spec: TensorSpec, material: Material
) -> tuple[fx.GraphModule, Facts]:
    """`aligned`, the wider, unless it is measured slower than `exact` by more than `NOISE`; both take `spec`.

    Facts say which it is and the latency of the aligned one as a share of the exact one's.
    """
    exact_ms, aligned_ms = material.latencies_ms([exact, aligned], spec)
    share = aligned_ms / exact_ms
    chosen = "aligned" if share <= 1 + NOISE else "exact"
    facts: Facts = {"widths": chosen, "aligned_latency_share": round(share, 3)}
    return (aligned if chosen == "aligned" else exact), facts
