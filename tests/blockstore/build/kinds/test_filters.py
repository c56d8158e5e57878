"""Filter groups: what only goes together, and a block without some of it computes as if they were zero."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from blockstore.block import TensorSpec
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.filters import FilterGroup, inner_groups, prunable, without
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import Bench, block_of, concatenating, projecting, scaled, whole

BENCHES = {
    "residual": lambda: whole(networks.residual),
    "plain": lambda: whole(networks.plain),
    "depthwise": lambda: whole(networks.depthwise),
    "concatenating": lambda: block_of(concatenating()),
    "projecting": lambda: block_of(projecting()),
    "shuffling": lambda: block_of(Shuffling()),
    "flattening": lambda: block_of(nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5))),
}


class TwoOutputs(nn.Module):
    """A detector's end: maps of two sizes, flattened and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.fine, self.coarse = nn.Conv2d(8, 3, 1), nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        coarse = self.coarse(torch.relu(self.down(x)))
        return torch.cat([torch.flatten(self.fine(x), 1), torch.flatten(coarse, 1)], 1)


class Shuffling(nn.Module):
    """Channels are shuffled again and again between layers of which the second makes what is shuffled."""

    def __init__(self, times: int = 6) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.times = times
        self.first = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 1))
        self.last = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(self.times):
            x = torch.cat([x[:, ::2], x[:, 1::2]], 1)
        y: Tensor = self.last(x)
        return y


class Softmax(nn.Module):
    """Over channels, which a permutation has made the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).softmax(3).permute(0, 3, 1, 2)


def zeroed(module: fx.GraphModule, groups: tuple[FilterGroup, ...], doomed: dict[str, list[int]]) -> fx.GraphModule:
    result = copy.deepcopy(module)
    for group in groups:
        for maker in group.makers:
            for tensor in result.get_submodule(maker).parameters():
                tensor[doomed[group.root]] = 0
    return result


def groups_of(bench: Bench) -> tuple[FilterGroup, ...]:
    return inner_groups(bench.block.module, bench.block.input)


@pytest.mark.parametrize("name", BENCHES)
def test_without_filters_a_block_computes_as_with_zeros_in_their_place(name: str) -> None:
    bench = BENCHES[name]()
    groups = groups_of(bench)
    doomed = {g.root: list(range(0, g.filters, 2)) for g in groups}
    pruned = without(bench.block.module, bench.block.input, doomed)
    inputs, original = next(bench.material.batches())
    expected = zeroed(bench.block.module, groups, doomed)(inputs)
    assert groups
    assert torch.allclose(pruned(inputs), expected, atol=1e-6)
    assert not torch.allclose(expected, original, atol=1e-4)


def test_filters_that_reach_the_output_are_in_no_group() -> None:
    bench = block_of(nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.ReLU()))
    assert groups_of(bench) == ()
    assert not prunable(bench.block.module, bench.block.input)


def test_filters_joined_to_the_input_by_a_shortcut_are_in_no_group() -> None:
    makers = {maker for group in groups_of(whole(networks.residual)) for maker in group.makers}
    assert makers == {"network.3.conv1", "network.4.conv1", "network.5.conv1"}


def test_filters_joined_by_additions_are_one_group() -> None:
    stream = next(g for g in groups_of(whole(networks.depthwise)) if len(g.makers) == 4)
    assert set(stream.makers) == {"network.0", *(f"network.{i}.project" for i in (1, 2, 3))}


def test_filters_that_reach_one_of_several_outputs_are_in_no_group() -> None:
    makers = {maker for group in groups_of(block_of(TwoOutputs())) for maker in group.makers}
    assert makers == {"0.stem", "0.down"}


def test_filters_of_which_some_are_sliced_are_in_no_group_and_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        groups = groups_of(block_of(Shuffling()))
    assert {group.root for group in groups} == {"0.first.0", "0.last.0"}


def test_filters_that_are_averaged_with_others_are_in_no_group() -> None:
    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.first(x).relu())
            y: Tensor = self.last(x) * x.mean((1, 2, 3))[:, None, None, None]
            return y

    assert {group.root for group in groups_of(block_of(Averaged()))} == {"0.first"}


def test_filters_that_a_gate_multiplies_are_in_no_group_for_they_have_no_ranks_of_their_own() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 16, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.second(self.first(x).relu()).chunk(2, 1)
            y: Tensor = self.last(a * b.sigmoid())
            return y

    assert {group.root for group in groups_of(block_of(Gated()))} <= {"0.first"}


@pytest.mark.parametrize("softmax", [nn.Softmax(1), Softmax()], ids=["layer", "behind a permutation"])
def test_filters_that_a_softmax_compares_are_in_no_group(softmax: nn.Module) -> None:
    bench = block_of(nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 1), softmax, nn.Conv2d(8, 4, 1)))
    assert {group.root for group in groups_of(bench)} == {"0.0"}


def test_channels_that_cannot_be_counted_are_a_reason() -> None:
    with pytest.raises(Declined, match="their number cannot be followed"):
        groups_of(block_of(Shuffling(times=9)))


def test_filters_that_meet_a_constant_of_their_own_are_in_no_group() -> None:
    makers = {maker for group in groups_of(whole(scaled)) for maker in group.makers}
    assert makers == {"network.2", "network.4"}


def test_grouped_convolutions_that_are_not_depthwise_stay_whole() -> None:
    layers = (nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1))
    assert groups_of(block_of(nn.Sequential(*layers))) == ()


def test_a_block_may_take_vectors() -> None:
    vectors = block_of(nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)), spec=TensorSpec("float32", (12,)))
    assert [g.filters for g in groups_of(vectors)] == [9]


def test_a_channel_count_in_the_code_is_a_reason() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3, padding=1)
            self.linear = nn.Linear(8 * 64, 4)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(self.conv(x).reshape(-1, 8 * 64))
            return logits

    bench = block_of(Fixed())
    with pytest.raises(Declined, match="a channel count is written into its code"):
        without(bench.block.module, bench.block.input, {g.root: [0] for g in groups_of(bench)})


@pytest.mark.parametrize("make", [networks.residual, networks.depthwise])
def test_the_block_itself_stays_as_it_is(make: Callable[[], nn.Module]) -> None:
    bench = whole(make)
    before = [p.clone() for p in bench.block.module.parameters()]
    without(bench.block.module, bench.block.input, {g.root: [0, 1] for g in groups_of(bench)})
    after = list(bench.block.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(p.requires_grad for p in after)
