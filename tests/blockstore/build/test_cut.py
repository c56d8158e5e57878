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
from blockstore.build.cut import CutBlock, cut, monotone, partition, segments_of
from blockstore.build.prune import prunable
from blockstore.errors import CannotCut
from tests.blockstore.build import networks


def parameters(block: fx.GraphModule, _: TensorSpec) -> float:
    """A latency that does not depend on the machine."""
    return 1.0 + sum(p.numel() for p in block.parameters())


def divided(network: nn.Module, blocks: int) -> tuple[CutBlock, ...]:
    return cut(networks.traced(network), blocks, parameters, prunable)


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_blocks_in_a_chain_are_the_network(make: Callable[[], nn.Module], count: int) -> None:
    traced = networks.traced(make())
    frames = networks.frames(2)
    blocks = cut(traced, count, parameters, prunable)
    x: Tensor = frames
    for block in blocks:
        assert tuple(x.shape[1:]) == block.input.shape
        x = block.module(x)
        assert tuple(x.shape[1:]) == block.output.shape
    assert len(blocks) == count
    assert torch.equal(x, traced.module(frames))


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_every_block_has_something_to_prune_where_that_is_possible(make: Callable[[], nn.Module]) -> None:
    assert all(prunable(b.module, b.input) for b in divided(make(), 3))


def test_no_cut_goes_through_a_residual_unit_or_parts_an_activation_from_its_convolution() -> None:
    ends = [str(s.nodes[-1].target) for s in segments_of(networks.traced(networks.residual()))]
    functions = [s.nodes[-1].target for s in segments_of(networks.traced(networks.residual()))][1:4]
    assert ends[0] == "network.2"
    assert all(getattr(f, "__name__", "") == "relu" for f in functions)
    assert not any("conv1" in e for e in ends)


def test_no_cut_goes_through_the_wide_inside_of_an_inverted_residual() -> None:
    blocks = divided(networks.depthwise(), 3)
    assert [b.input.shape[0] for b in blocks[1:]] == [8, 8]


def test_block_0_takes_frames() -> None:
    assert divided(networks.residual(), 3)[0].input == networks.FRAMES


def test_too_many_blocks_are_refused_with_the_most_there_can_be() -> None:
    with pytest.raises(CannotCut, match=r"50 blocks .* 7 at most"):
        divided(networks.residual(), 50)


def test_a_long_skip_is_named_as_what_prevents_a_cut() -> None:
    with pytest.raises(CannotCut, match=r"operator cat \(cat\) needs network_first"):
        divided(networks.LongSkip(), 4)


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
