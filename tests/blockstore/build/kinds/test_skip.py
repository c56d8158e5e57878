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
from blockstore.build.through_onnx import through_onnx
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import Bench, Projected, block_of, parameters, projecting, scaled, whole


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


class Placed(nn.Module):
    """A position is added, which is no branch: it is computed of nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.position = nn.Conv2d(4, 4, 1), nn.Parameter(torch.randn(4, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.position


class Shuffled(nn.Module):
    """One half of the channels passes by, the other is worked on, and both are shuffled (ShuffleNet V2)."""

    def __init__(self, made: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, made, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, ::2], self.conv(x[:, 1::2])], 1)


class Halved(Shuffled):
    """The same with halves that are neighbours, and the other one first."""

    def forward(self, x: Tensor) -> Tensor:
        passing, worked_on = x.chunk(2, 1)
        return torch.cat([self.conv(worked_on).relu(), passing], 1)


class Grown(nn.Module):
    """New channels beside all of the old ones, which is no residual unit (DenseNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(x)], 1)


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
        (lambda: block_of(Placed()), []),
        (lambda: block_of(nn.Sequential(Shuffled(), Halved(), Shuffled())), ["0.0.conv", "0.1.conv", "0.2.conv"]),
        (lambda: block_of(Shuffled(made=4)), []),
        (lambda: block_of(Grown()), []),
        (lambda: whole(scaled), ["1"]),
        (lambda: whole(lambda: through_onnx(scaled().eval(), torch.zeros(1, 3, 12, 12))), ["1"]),
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
    assert float(made.facts["removal_error"]) < 1e-3
    assert bench.error(made.module) < 1e-3


def test_a_projection_stays_in_place_of_its_unit() -> None:
    bench = block_of(Projected(4, 8))
    left = bench.reshape(skip.Skip(1)).module
    assert [m.kernel_size for m in left.modules() if isinstance(m, nn.Conv2d)] == [(1, 1)]


@pytest.mark.parametrize("make", [Shuffled, Halved])
def test_without_a_unit_that_works_on_one_half_both_halves_pass_by(make: Callable[[], nn.Module]) -> None:
    bench = block_of(make())
    left = bench.reshape(skip.Skip(1)).module
    inputs, _ = next(bench.material.batches())
    shuffled = torch.cat([inputs[:, ::2], inputs[:, 1::2]], 1)
    swapped = torch.cat([inputs[:, 2:], inputs[:, :2]], 1)
    assert torch.equal(left(inputs), shuffled if make is Shuffled else swapped)
    assert parameters(left) == 0


def test_constants_go_with_the_unit_that_they_scale() -> None:
    left = whole(scaled).reshape(skip.Skip(1)).module
    assert [name.rpartition(".")[2] for name, _ in left.named_parameters() if "1." in name] == ["position"]


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
