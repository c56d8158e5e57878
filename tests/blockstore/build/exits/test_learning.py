"""Heads learn from features, each for itself, and say so when they cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from blockstore.block import TensorSpec
from blockstore.build.exits.heads import Design, Head
from blockstore.build.exits.learning import Backbone, Batch, Learner, Pace, teach
from blockstore.build.exits.losses import Loss, cross_entropy
from blockstore.build.kinds.base import Declined

MAP, CLASSES = TensorSpec("float32", (4, 6, 6)), TensorSpec("float32", (3,))


def learner(block: int = 0, weight: float = 1.0, loss: Loss = cross_entropy) -> Learner:
    torch.manual_seed(block)
    return Learner((block,), Head(Design((8,), "average", strided=True), (MAP,), CLASSES), loss, weight)


def stream(blocks: tuple[int, ...] = (0, 1)) -> Iterator[Batch]:
    """Maps whose brightest channel is the class."""
    generator = torch.Generator().manual_seed(9)
    while True:
        target = torch.randint(0, 3, (16,), generator=generator)
        features = torch.rand(16, 4, 6, 6, generator=generator)
        features[torch.arange(16), target] += 1
        yield Batch(dict.fromkeys(blocks, features), target)


def right(taught: Learner) -> float:
    batch = next(stream())
    with torch.no_grad():
        return float((taught.logits(batch.features).argmax(1) == batch.target).float().mean())


def test_heads_learn_and_are_left_frozen() -> None:
    both = [learner(0), learner(1)]
    before = [right(ln) for ln in both]
    told: list[tuple[int, int]] = []
    teach(both, stream(), Pace(40, 1e-2, lambda done, of: told.append((done, of))))
    assert max(before) < 0.9 < min(right(ln) for ln in both)
    assert told[-1] == (40, 40)
    for taught in both:
        assert not taught.head.training
        assert not any(p.requires_grad for p in taught.head.parameters())


def test_heads_of_a_frozen_backbone_do_not_disturb_each_other() -> None:
    alone, beside = learner(0), learner(0)
    teach([alone], stream(), Pace(5))
    teach([beside, learner(1)], stream(), Pace(5))
    for one, other in zip(alone.head.parameters(), beside.head.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_loss_that_is_no_number_is_told_with_the_remedy() -> None:
    def infinite(logits: Tensor, target: Tensor) -> Tensor:
        return logits.sum() * float("inf")

    with pytest.raises(Declined, match=r"the loss of the exits became .*: lower the learning rate"):
        teach([learner(loss=infinite)], stream(), Pace(2))


def nothing(batch: Batch) -> Tensor:
    """The loss of a network's end that is content."""
    return torch.zeros(())


def test_the_backbone_learns_with_the_weights_of_the_exits() -> None:
    moved = []
    for weight in (0.0, 1.0):
        shift = nn.Parameter(torch.zeros(1, 4, 1, 1))
        batches = (Batch({0: batch.features[0] + shift}, batch.target) for batch in stream((0,)))
        teach([learner(weight=weight)], batches, Pace(3), Backbone([shift], nothing))
        moved.append(float(shift.detach().abs().max()))
    assert moved[0] == 0.0 < moved[1]
