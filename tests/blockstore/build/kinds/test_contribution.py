"""Contributions: the mean squared error of the readers' outputs when one filter goes, measured."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from blockstore.build.kinds.contribution import contributions
from blockstore.build.kinds.filters import inner_groups
from tests.blockstore.build.kinds.reshaping import block_of


def measured(network: nn.Module) -> tuple[Tensor, list[float]]:
    """Scores of the only group, and the same by leaving each filter out of what the last layer reads."""
    bench = block_of(network)
    (group,) = inner_groups(bench.block.module, bench.block.input)
    (reader,) = group.readers
    scores = contributions(bench.block.module, [group], bench.material.batches())[group.root]
    pairs = list(bench.material.batches())
    errors = []
    for number in range(group.filters):
        less = copy.deepcopy(bench.block.module)
        inputs = [i for i, f in zip(reader.inputs, reader.filters, strict=True) if f == number]
        weight = less.get_submodule(reader.layer).weight
        assert isinstance(weight, Tensor)
        weight[:, inputs] = 0
        changed = sum(float((less(x) - y).double().square().sum()) for x, y in pairs)
        errors.append(changed / sum(float(y.double().square().sum()) for _, y in pairs))
    return scores, errors


def test_a_filter_scores_what_the_reader_of_a_convolution_loses() -> None:
    torch.manual_seed(1)
    scores, errors = measured(
        nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3, stride=2, padding=2, dilation=2))
    )
    assert torch.allclose(scores, torch.tensor(errors, dtype=torch.float64), rtol=1e-4)


def test_a_filter_scores_what_a_dense_reader_loses_of_its_flattened_map() -> None:
    torch.manual_seed(1)
    scores, errors = measured(nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 3)))
    assert torch.allclose(scores, torch.tensor(errors, dtype=torch.float64), rtol=1e-4)


def test_a_filter_that_never_fires_scores_nothing_though_its_weights_are_large() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3))
    with torch.no_grad():
        first = network[0]
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        first.weight[2] *= 3
        first.bias[2] = -1e4
    bench = block_of(network)
    (group,) = inner_groups(bench.block.module, bench.block.input)
    scores = contributions(bench.block.module, [group], bench.material.batches())[group.root]
    assert scores[2] == 0
    assert (scores > 0).sum() == 4
