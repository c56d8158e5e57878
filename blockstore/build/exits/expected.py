"""What the policies of a finished model are expected to compute, from its manifest alone. Pure."""

from __future__ import annotations

from blockstore.block import Model
from blockstore.exits import FINAL, OfferedPolicy


def policy_multiply_adds(model: Model, offered: OfferedPolicy) -> float:
    """Of a frame on average, along the original blocks: enabled heads that it meets are evaluated."""
    blocks = [block.variants[0].multiply_adds for block in model.blocks]
    exits = {e.name: e for e in model.exits}
    total, heads = 0.0, 0
    for (name, _), share in zip(offered.policy.steps, offered.forecast.shares, strict=True):
        if name == FINAL:
            total += share * (sum(blocks) + heads)
        else:
            heads += exits[name].multiply_adds
            total += share * (sum(blocks[: exits[name].block + 1]) + heads)
    return total


def shares_text(offered: OfferedPolicy) -> str:
    """Where frames are expected to leave: `exit1 40%, final 60%`."""
    steps = zip(offered.policy.steps, offered.forecast.shares, strict=True)
    return ", ".join(f"{name} {share:.0%}" for (name, _), share in steps)


def cost_share(model: Model, offered: OfferedPolicy) -> float:
    """The same as a share of the whole network without exits."""
    return policy_multiply_adds(model, offered) / sum(block.variants[0].multiply_adds for block in model.blocks)
