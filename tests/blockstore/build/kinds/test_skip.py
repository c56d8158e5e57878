"""Skip: residual units go, those that matter least first, and their shortcuts stay."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from blockstore import torchform
from blockstore.build.export import export
from blockstore.build.kinds import skip
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.skip import residual_units
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import Bench, Projected, block_of, parameters, projecting, whole


class Added(nn.Module):
    """x + f(x) and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.conv(x))


class TwoWays(nn.Module):
    """The sum of two branches of equal weight, which is no residual unit."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.left(x), self.right(x))


def titles(bench: Bench) -> list[str]:
    return [unit.title for unit in residual_units(bench.block.module, bench.block.input)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: whole(networks.residual), ["3", "4", "5"]),
        (lambda: whole(networks.depthwise), ["1", "2", "3"]),
        (lambda: block_of(projecting()), ["0.2", "0.3"]),
        (lambda: whole(networks.plain), []),
        (lambda: block_of(TwoWays()), []),
    ],
)
def test_units_are_found_by_their_shortcuts(make: Callable[[], Bench], expected: list[str]) -> None:
    assert titles(make()) == expected


def test_one_unit_after_another_goes_and_the_output_keeps_its_shape() -> None:
    bench = whole(networks.residual)
    sizes = [parameters(bench.block.module)]
    inputs, target = next(bench.material.batches())
    for count in (1, 2, 3):
        made = bench.reshape(skip.Skip(count))
        assert made.module(inputs).shape == target.shape
        assert len(str(made.facts["units_removed"]).split(", ")) == count
        sizes.append(parameters(made.module))
    assert sizes == sorted(set(sizes), reverse=True)


def test_the_unit_that_changes_the_output_least_goes() -> None:
    network = nn.Sequential(Added(), Added(), Added())
    with torch.no_grad():
        for parameter in network[1].parameters():
            parameter.mul_(1e-3)
    bench = block_of(network)
    made = bench.reshape(skip.Skip(1))
    assert made.facts["units_removed"] == "0.1.conv"
    assert float(made.facts["error_before_retraining"]) < 1e-3
    assert bench.error(made.module) < 1e-3


def test_a_projection_stays_in_place_of_its_unit() -> None:
    bench = block_of(Projected(4, 8))
    left = bench.reshape(skip.Skip(1)).module
    assert [m.kernel_size for m in left.modules() if isinstance(m, nn.Conv2d)] == [(1, 1)]


def test_a_second_relu_of_the_same_tensor_goes_too() -> None:
    left = whole(networks.residual)
    made = left.reshape(skip.Skip(1)).module
    relus = [n for n in made.graph.nodes if n.target in (torch.relu, nn.functional.relu)]
    assert not any(source in relus for relu in relus for source in relu.all_input_nodes)


def test_a_block_may_become_nothing_but_its_input() -> None:
    bench = block_of(Added())
    left = bench.reshape(skip.Skip(1)).module
    inputs, _ = next(bench.material.batches())
    assert torch.equal(torchform.load(torchform.save(left))(inputs), inputs)
    forms = export(left, bench.block.input, inputs)
    assert forms.parameters == 0


def test_the_block_itself_stays_as_it_is() -> None:
    bench = whole(networks.residual)
    code, before = bench.block.module.code, copy.deepcopy(bench.block.module.state_dict())
    made = bench.reshape(skip.Skip(2)).module
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    after = bench.block.module.state_dict()
    assert bench.block.module.code == code
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_more_units_than_there_are_is_declined_with_both_counts() -> None:
    with pytest.raises(Declined, match="4 residual units are to go and the block has 3"):
        whole(networks.residual).reshape(skip.Skip(4))


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(CannotBuild, match="the number of residual units that go is '0'"):
        skip.parse(["0"])
