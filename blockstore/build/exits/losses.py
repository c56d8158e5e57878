"""What a head is taught by: one number for a batch of its logits and what they should have been."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import Tensor
from torch.nn import functional

from blockstore.build.retrain import relative_error

_LEAST: Final = 1e-7
"""Of what a probability lacks of 1, in float32."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits `[batch, *output]` and target (int64 `[batch]` classes, or float32 `[batch, *output]`) to one number."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Of classes, or of the probabilities behind the original's logits."""
    return functional.cross_entropy(logits.float(), target if target.ndim == 1 else target.softmax(1))


def focal(gamma: float) -> Loss:
    """FL(p) = -(1 - p)^gamma log p, with p the probability of the target (Lin et al. 2017; MXN, section 5.2.3).

    What is right already counts little, so that high probabilities are left to what is easy. With the original's logits
    for a target, the sum over classes of its probabilities times that of each.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        logarithms = logits.float().log_softmax(1)
        if target.ndim == 1:
            logarithms = logarithms.gather(1, target[:, None])
        # At a probability of 1 a gamma below 1 has no finite slope.
        weighted = (1 - logarithms.exp()).clamp(min=_LEAST) ** gamma * logarithms
        if target.ndim == 1:
            return -weighted.mean()
        return -(target.softmax(1) * weighted).sum(1).mean()

    return loss


def imitation(outputs: Tensor, target: Tensor) -> Tensor:
    """Where outputs are no classes: mean squared error to the original's, over the variance of these."""
    return relative_error(outputs.float(), target)
