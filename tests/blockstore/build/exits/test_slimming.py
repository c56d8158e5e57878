"""Pruning heads: what is cut, that slicing is exact, and when the search stops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from blockstore.block import TensorSpec
from blockstore.build.exits.heads import Design, Head
from blockstore.build.exits.learning import Learner
from blockstore.build.exits.losses import cross_entropy
from blockstore.build.exits.slimming import DROP, FEWEST, search, with_fewer_filters, without_layer

CLASSES = TensorSpec("float32", (5,))
EARLIER, OWN = TensorSpec("float32", (4, 12, 12)), TensorSpec("float32", (6, 12, 12))
DESIGNS = {
    "average": Design((32, 24), "average", strided=True),
    "maximum": Design((32, 24), "maximum", strided=True),
    "flatten": Design((32, 24), "flatten", strided=False),
    "aggregation": Design((32, 24), "average", strided=True, aggregates=True),
}


def specs(design: Design) -> tuple[TensorSpec, ...]:
    return (EARLIER, OWN) if design.aggregates else (OWN,)


def made(design: Design, seed: int = 0) -> Head:
    """A head with statistics of batch normalisation that are not those of the beginning."""
    torch.manual_seed(seed)
    head = Head(design, specs(design), CLASSES).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean = 0.1 * torch.randn(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
    return head


def features(design: Design) -> list[torch.Tensor]:
    return [torch.randn(3, *s.shape, generator=torch.Generator().manual_seed(7)) for s in specs(design)]


def silence(head: Head, shares: Sequence[Sequence[int]]) -> None:
    """Filters whose numbers are given, of each convolution, give 0 whatever comes."""
    modules = list(head.convolutions)
    layers = [(c, n) for c, n in pairwise(modules) if isinstance(c, nn.Conv2d)]
    with torch.no_grad():
        for (convolution, norm), numbers in zip(layers, shares, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            convolution.weight[list(numbers)] = 0
            norm.bias[list(numbers)] = 0
            norm.running_mean[list(numbers)] = 0


def fewer(design: Design) -> tuple[int, ...]:
    """The filters that a cut leaves."""
    return with_fewer_filters(made(design), specs(design), CLASSES).design.filters


@pytest.mark.parametrize("name", DESIGNS)
def test_filters_that_give_nothing_go_without_a_trace(name: str) -> None:
    head = made(DESIGNS[name])
    first, second = fewer(DESIGNS[name])
    silence(head, [range(32 - first), range(24 - second)])
    slim = with_fewer_filters(head, specs(DESIGNS[name]), CLASSES)
    assert slim.design.filters == (first, second) < (32, 24)
    given = features(DESIGNS[name])
    with torch.no_grad():
        assert torch.allclose(slim(*given), head(*given), atol=1e-5)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_filters_of_largest_norm_stay(name: str) -> None:
    head = made(DESIGNS[name])
    slim = with_fewer_filters(head, specs(DESIGNS[name]), CLASSES)
    convolution, norm, to = head.convolutions[0], head.convolutions[1], slim.convolutions[0]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(to, nn.Conv2d)
    assert norm.running_var is not None
    norms = convolution.weight.abs().sum((1, 2, 3)) * norm.weight.abs() / (norm.running_var + norm.eps).sqrt()
    kept = sorted(norms.argsort(descending=True)[: len(to.weight)].tolist())
    assert torch.equal(to.weight, convolution.weight[kept])


def test_a_layer_goes_and_what_is_before_it_stays() -> None:
    design = DESIGNS["aggregation"]
    head = made(design)
    slim = without_layer(head, specs(design), CLASSES)
    assert slim.design.filters == (32,)
    assert head.aggregate is not None
    assert slim.aggregate is not None
    assert torch.equal(slim.aggregate.compress.weight, head.aggregate.compress.weight)
    before, after = head.convolutions.state_dict(), slim.convolutions.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert slim(*features(design)).shape == (3, 5)


class Judged:
    """Accuracies by the number of weights of a head; nothing is taught."""

    def __init__(self, least_filters: int) -> None:
        self.least_filters = least_filters
        self.taught: list[list[tuple[int, ...]]] = []

    def teach_round(self, learners: Sequence[Learner]) -> None:
        self.taught.append([learner.head.design.filters for learner in learners])

    def accuracies(self, learners: Sequence[Learner]) -> list[float]:
        """Heads with fewer filters in all fall by more than is allowed."""
        return [0.9 if sum(ln.head.design.filters) >= self.least_filters else 0.9 - DROP - 0.001 for ln in learners]


def run(judged: Judged, rounds: int, *designs: Design) -> list[tuple[tuple[int, ...], float]]:
    learners = [Learner((0,), made(design), cross_entropy) for design in designs]
    found = search(learners, lambda ln: specs(ln.head.design), CLASSES, judged.teach_round, judged.accuracies, rounds)
    return [(state.learner.head.design.filters, state.accuracy) for state in found]


@pytest.mark.parametrize("least", [0, 8, 16, 20, 28, 40, 56])
def test_filters_and_layers_go_until_accuracy_starts_to_drop(least: int) -> None:
    ((filters, accuracy),) = run(Judged(least), 50, DESIGNS["average"])
    assert accuracy == 0.9
    assert sum(filters) >= least
    if filters:
        # Neither move can go on.
        design = DESIGNS["average"].with_filters(filters)
        assert fewer(design) == filters or sum(fewer(design)) < least
        assert sum(filters[:-1]) < least
    else:
        assert least == 0


def test_the_search_ends_after_its_rounds_or_when_nothing_is_left_to_try() -> None:
    judged, once = Judged(0), fewer(DESIGNS["average"])
    ((filters, _),) = run(judged, 1, DESIGNS["average"])
    assert filters == once
    assert judged.taught == [[once]]
    judged = Judged(56)
    run(judged, 20, DESIGNS["average"])
    # Both moves were tried once.
    assert judged.taught == [[once], [(32,)]]


def test_heads_are_searched_together_and_each_for_itself() -> None:
    judged = Judged(8)
    small = Design((FEWEST,), "average", strided=True)
    found = run(judged, 50, DESIGNS["average"], small)
    assert [filters for filters, _ in found] == [(FEWEST,), (FEWEST,)]
    assert judged.taught[0] == [fewer(DESIGNS["average"]), ()]


@pytest.mark.parametrize("accuracies", [(0.90, 0.95, 0.94, 0.94), (0.90, 0.896, 0.892, 0.892)], ids=str)
def test_the_mark_rises_with_a_better_head_and_never_falls(accuracies: tuple[float, ...]) -> None:
    judged, steps = Judged(0), iter([[accuracy] for accuracy in accuracies])
    learners = [Learner((0,), made(DESIGNS["average"]), cross_entropy)]
    (state,) = search(
        learners, lambda ln: specs(ln.head.design), CLASSES, judged.teach_round, lambda _: next(steps), rounds=3
    )
    # The first cut is kept; the next ones lose more than is allowed, of the best so far.
    assert state.learner.head.design.filters == fewer(DESIGNS["average"])
    assert state.accuracy == accuracies[1]


def test_a_head_on_a_vector_has_nothing_to_lose() -> None:
    vector = TensorSpec("float32", (9,))
    learner = Learner((0,), Head(Design((), "average", strided=True), (vector,), CLASSES).eval(), cross_entropy)
    judged = Judged(0)
    (state,) = search([learner], lambda _: (vector,), CLASSES, judged.teach_round, judged.accuracies, 9)
    assert state.learner is learner
    assert judged.taught == []
