"""Widths that engines like: rounded up to whole groups of channels, where that is measured to cost no time."""

from __future__ import annotations

from torch import fx

from blockstore.block import TensorSpec
from blockstore.build.kinds.base import Facts, Material


def round_up(width: int, multiple: int) -> int:
    """The next multiple of `multiple` from `width` upwards."""
    return -(-width // multiple) * multiple


def quicker(
    exact: fx.GraphModule, aligned: fx.GraphModule, spec: TensorSpec, material: Material
) -> tuple[fx.GraphModule, Facts]:
    """`aligned`, the wider, unless it is measured slower than `exact`; both take `spec`.

    Facts say which it is and the latency of the aligned one as a share of the exact one's.
    """
    share = material.latency_ms(aligned, spec) / material.latency_ms(exact, spec)
    chosen = "aligned" if share <= 1 else "exact"
    facts: Facts = {"widths": chosen, "aligned_latency_share": round(share, 3)}
    return (aligned if chosen == "aligned" else exact), facts
