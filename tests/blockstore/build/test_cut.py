"""Cut: where a network may be divided, and how evenly it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from blockstore.block import TensorSpec
from blockstore.build.cut import Division, cut, cut_at, cut_names, monotone, partition, segments_of
from blockstore.build.kinds.filters import prunable
from blockstore.errors import CannotCut
from tests.blockstore.build import networks


def parameters(block: fx.GraphModule, _: TensorSpec) -> float:
    """A latency that does not depend on the machine."""
    return 1.0 + sum(p.numel() for p in block.parameters())


def divided(network: nn.Module, blocks: int) -> Division:
    return cut(networks.traced(network), blocks, parameters, prunable)


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_blocks_in_a_chain_are_the_network(make: Callable[[], nn.Module], count: int) -> None:
    traced = networks.traced(make())
    frames = networks.frames(2)
    blocks = cut(traced, count, parameters, prunable).blocks
    x: Tensor = frames
    for block in blocks:
        assert tuple(x.shape[1:]) == block.input.shape
        x = block.module(x)
        assert tuple(x.shape[1:]) == block.output.shape
    assert len(blocks) == count
    assert torch.equal(x, traced.module(frames))


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_every_block_has_something_to_prune_where_that_is_possible(make: Callable[[], nn.Module]) -> None:
    assert all(prunable(b.module, b.input) for b in divided(make(), 3).blocks)


def test_no_cut_goes_through_the_wide_inside_of_an_inverted_residual() -> None:
    blocks = divided(networks.depthwise(), 3).blocks
    assert [b.input.shape[0] for b in blocks[1:]] == [8, 8]


def test_block_0_takes_frames() -> None:
    assert divided(networks.residual(), 3).blocks[0].input == networks.FRAMES


def test_as_many_blocks_as_there_can_be_are_made_and_what_prevents_more_is_said() -> None:
    division = divided(networks.residual(), 50)
    assert len(division.blocks) == 7
    assert division.obstacle is not None
    assert divided(networks.residual(), 7).obstacle is None


def test_a_network_without_a_legal_cut_is_one_block() -> None:
    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, -x.relu()], 1)

    division = divided(Whole(), 4)
    assert [b.output.shape for b in division.blocks] == [(6, 12, 12)]
    assert division.obstacle is not None
    assert "operator cat (cat) needs preprocess" in division.obstacle


def test_a_long_skip_is_named_as_what_prevents_a_cut() -> None:
    obstacle = divided(networks.LongSkip(), 4).obstacle
    assert obstacle is not None
    assert "operator cat (cat) needs network_first" in obstacle


def test_latency_is_asked_once_for_every_segment_and_never_for_one_block() -> None:
    asked: list[TensorSpec] = []

    def latency_ms(_: fx.GraphModule, spec: TensorSpec) -> float:
        asked.append(spec)
        return 1.0

    traced = networks.traced(networks.residual())
    cut(traced, 3, latency_ms, prunable)
    assert len(asked) == len(segments_of(traced))
    cut(traced, 1, latency_ms, prunable)
    assert len(asked) == len(segments_of(traced))


@pytest.mark.parametrize("names", [("3", "5"), ("5.relu_1", "3.relu_1"), ("3", "3.relu_1", "5")])
def test_cuts_are_made_after_the_named_operators_and_parts(names: tuple[str, ...]) -> None:
    traced = networks.traced(networks.residual())
    division = cut_at(traced, names)
    assert [b.output.shape for b in division.blocks] == [(8, 12, 12), (16, 6, 6), (4,)]
    frames = networks.frames(2)
    x: Tensor = frames
    for block in division.blocks:
        x = block.module(x)
    assert torch.equal(x, traced.module(frames))


def test_a_name_that_is_unknown_is_refused_with_names_like_it() -> None:
    with pytest.raises(CannotCut, match=r"nothing called '4\.relu_9'; .*4\.relu_1"):
        cut_at(networks.traced(networks.residual()), ["3", "4.relu_9"])


def test_a_cut_that_is_not_legal_is_refused_with_the_nearest() -> None:
    with pytest.raises(CannotCut, match=r"after '4\.conv1'; .* before it '3\.relu_1' and after it '4\.relu_1'"):
        cut_at(networks.traced(networks.residual()), ["4.conv1"])


class Chunked(nn.Module):
    """Half of the channels gates the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x).relu().chunk(2, 1)
        y: Tensor = self.second(torch.cat([a, b.sigmoid()], 1))
        return y


def test_channels_that_cannot_be_followed_do_not_keep_a_network_from_being_cut() -> None:
    assert len(divided(Chunked().eval(), 2).blocks) == 2


def test_a_division_by_its_names_is_the_same() -> None:
    traced = networks.traced(networks.residual())
    division = cut(traced, 3, parameters, prunable)
    names = cut_names(traced, division)
    assert len(names) == 2
    assert [b.name for b in cut_at(traced, names).blocks] == [b.name for b in division.blocks]


def test_a_detectors_outputs_leave_from_the_last_block() -> None:
    traced = networks.traced(networks.Heads().eval())
    blocks = cut(traced, 2, parameters, prunable).blocks
    frames = networks.frames(3)
    assert [b.output for b in blocks] == [TensorSpec("float32", (8, 12, 12)), traced.output]
    assert torch.equal(blocks[1].module(blocks[0].module(frames)), traced.module(frames))


@given(
    st.lists(st.floats(0.1, 100), min_size=3, max_size=8),
    st.integers(1, 3),
    st.sets(st.integers(1, 7)),
    st.integers(1, 4),
)
def test_partition_is_as_good_as_trying_everything(costs: list[float], blocks: int, wide: set[int], least: int) -> None:
    def useful(first: int, last: int) -> bool:
        return last - first >= least

    def quality(bounds: tuple[int, ...]) -> tuple[int, float]:
        runs = list(itertools.pairwise(bounds))
        idle = sum(not useful(a, b) for a, b in runs) + sum(b in wide for _, b in runs)
        return idle, max(sum(costs[a:b]) for a, b in runs)

    inner = itertools.combinations(range(1, len(costs)), blocks - 1)
    best = min(quality((0, *middle, len(costs))) for middle in inner)
    found = quality(partition(costs, blocks, useful, wide))
    assert found[0] == best[0]
    assert found[1] == pytest.approx(best[1])


@given(st.sets(st.tuples(st.integers(0, 6), st.integers(1, 7))))
def test_monotone_agrees_with_the_test_it_replaces(seeds: set[tuple[int, int]]) -> None:
    kernels = {(a, b) for a, b in seeds if a < b}

    def has(first: int, last: int) -> bool:
        return any(first <= a and b <= last for a, b in kernels)

    quick = monotone(has, 7)
    assert all(quick(a, b) == has(a, b) for a in range(7) for b in range(a + 1, 8))
