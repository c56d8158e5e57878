"""FlexDNN's search for the architecture of each exit: filters and layers go until its accuracy starts to drop.

An over-parameterised head that has learnt loses, round by round, a quarter of its filters or a whole layer, learns on
for a while, and is kept as long as it is as accurate as the one that it came from (section 3.2). All heads go through
the rounds together, because what they learn from, the features, is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from blockstore.block import TensorSpec
from blockstore.build.exits.heads import Head
from blockstore.build.exits.learning import Learner

SHARE: Final = 0.75
"""Of the filters, kept by a cut: of half of them no head of ResNet-20 recovered in a round."""
MULTIPLE: Final = 4
"""Filters are kept in multiples of it."""
FEWEST: Final = 8
"""Filters that a layer keeps; what needs fewer loses the layer."""
DROP: Final = 0.01
"""Accuracy, as an absolute fraction, below that of the over-parameterised head: where it "starts to drop"."""
MOVES: Final = ("filters", "layer")


@dataclass(slots=True)
class Search:
    """The search for one exit."""

    learner: Learner
    """With the smallest head so far that has held."""
    reference: float
    """Accuracy of the over-parameterised head."""
    accuracy: float
    """Of the learner's head."""
    rounds: int = 0
    failed: frozenset[str] = frozenset()
    """Moves that were tried on this head and cost too much."""

    @property
    def move(self) -> str | None:
        """What to try next; None when the search is over."""
        return next((m for m in MOVES if m not in self.failed and _possible(self.learner.head, m)), None)


def search(
    learners: Sequence[Learner],
    specs: Callable[[Learner], tuple[TensorSpec, ...]],
    output: TensorSpec,
    teach_round: Callable[[Sequence[Learner]], None],
    accuracies: Callable[[Sequence[Learner]], Sequence[float]],
    rounds: int,
) -> list[Search]:
    """The searches of all `learners`, which have learnt, after at most `rounds` rounds.

    `teach_round` lets slimmer heads learn on for a round, `accuracies` are those on validation images.
    """
    found = [
        Search(learner, accuracy, accuracy) for learner, accuracy in zip(learners, accuracies(learners), strict=True)
    ]
    for _ in range(rounds):
        open_ = [s for s in found if s.move is not None]
        if not open_:
            break
        tried = [_moved(s, specs(s.learner), output) for s in open_]
        teach_round(tried)
        for state, learner, accuracy in zip(open_, tried, accuracies(tried), strict=True):
            _judge(state, learner, accuracy)
    return found


def _judge(state: Search, learner: Learner, accuracy: float) -> None:
    """Keep the slimmer head, or remember that this move costs too much."""
    move = state.move
    assert move is not None, "only open searches are judged"
    state.rounds += 1
    if accuracy >= state.reference - DROP:
        state.learner, state.accuracy, state.failed = learner, accuracy, frozenset()
        # A head that has come out better sets the mark.
        state.reference = max(state.reference, accuracy)
    else:
        state.failed |= {move}


def _possible(head: Head, move: str) -> bool:
    filters = head.design.filters
    if move == "layer":
        return len(filters) > 0
    return any(_fewer(count) < count for count in filters)


def _fewer(count: int) -> int:
    return max(min(count, FEWEST), round(SHARE * count / MULTIPLE) * MULTIPLE)


def _moved(state: Search, specs: tuple[TensorSpec, ...], output: TensorSpec) -> Learner:
    """The learner with a slimmer head that has its weights."""
    old, move = state.learner.head, state.move
    learner = copy.copy(state.learner)
    learner.head = without_layer(old, specs, output) if move == "layer" else with_fewer_filters(old, specs, output)
    return learner


def with_fewer_filters(head: Head, specs: tuple[TensorSpec, ...], output: TensorSpec) -> Head:
    """A head whose convolutions keep the filters of largest L1 norm, as their normalisation scales them."""
    layers = [
        (m, n) for m, n in zip(head.convolutions, [*head.convolutions][1:], strict=False) if isinstance(m, nn.Conv2d)
    ]
    slim = Head(head.design.with_filters(tuple(_fewer(c.out_channels) for c, _ in layers)), specs, output)
    slim.load_state_dict({**slim.state_dict(), **_outside(head)})
    entering: Tensor = torch.arange(layers[0][0].in_channels)
    copies = [m for m in slim.convolutions if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for (convolution, norm), (to, to_norm) in zip(layers, zip(copies[::2], copies[1::2], strict=True), strict=True):
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(to, nn.Conv2d)
        assert isinstance(to_norm, nn.BatchNorm2d)
        norms = convolution.weight.detach().abs().sum((1, 2, 3)) * norm.weight.detach().abs() / _deviation(norm)
        kept = norms.topk(to.out_channels).indices.sort().values
        to.weight.data = convolution.weight.detach()[kept][:, entering].clone()
        to_norm.load_state_dict({k: v[kept] if v.ndim else v for k, v in norm.state_dict().items()})
        entering = kept
    pixels = head.linear.in_features // layers[-1][0].out_channels
    columns = (entering[:, None] * pixels + torch.arange(pixels)).flatten()
    slim.linear.weight.data = head.linear.weight.detach()[:, columns].clone()
    slim.linear.bias.data = head.linear.bias.detach().clone()
    return slim.eval()


def _deviation(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None, "heads normalise by running averages"
    return (norm.running_var + norm.eps).sqrt()


def without_layer(head: Head, specs: tuple[TensorSpec, ...], output: TensorSpec) -> Head:
    """A head without its last convolution; the linear layer begins anew, for its inputs are others."""
    slim = Head(head.design.with_filters(head.design.filters[:-1]), specs, output)
    kept = {k: v for k, v in head.convolutions.state_dict().items() if k in slim.convolutions.state_dict()}
    slim.convolutions.load_state_dict(kept)
    slim.load_state_dict({**slim.state_dict(), **_outside(head)})
    return slim.eval()


def _outside(head: Head) -> dict[str, Tensor]:
    """Weights of the aggregation, which no move changes."""
    return {k: v for k, v in head.state_dict().items() if k.startswith("aggregate.")}
