"""Prune: fewer inner filters, same input and output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock, cut
from blockstore.build.prune import kept_filters, prunable, variants
from tests.blockstore.build import networks

RATIOS = (0.25, 0.5, 0.75)


def blocks_of(network: nn.Module, count: int) -> tuple[CutBlock, ...]:
    return cut(networks.traced(network), count, lambda *_: 1.0, prunable)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def single(*layers: nn.Module) -> CutBlock:
    return blocks_of(nn.Sequential(*layers), 1)[0]


@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_variants_shrink_and_keep_what_enters_and_leaves(make: Callable[[], nn.Module]) -> None:
    x: Tensor = networks.frames(2)
    for block in blocks_of(make(), 3):
        made, skipped = variants(block, RATIOS, "l1", 2)
        output = block.module(x)
        sizes = [parameters(block.module), *(parameters(p.module) for p in made)]
        assert [p.name for p in made] == ["pruned-25", "pruned-50", "pruned-75"]
        assert not skipped
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == 4
        assert all(p.module(x).shape == output.shape for p in made)
        x = output


def test_the_original_is_not_changed_by_pruning() -> None:
    block = blocks_of(networks.residual(), 1)[0]
    frames = networks.frames(2)
    before = block.module(frames).clone()
    variants(block, RATIOS, "l2", 2)
    assert torch.equal(block.module(frames), before)


def test_the_filters_of_smallest_norm_go() -> None:
    block = single(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    first = next(m for m in block.module.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        first.weight[[1, 3, 4, 6]] *= 0.01
    (half,), _ = variants(block, (0.5,), "l1", 1)
    kept = next(m for m in half.module.modules() if isinstance(m, nn.Conv2d))
    assert torch.equal(kept.weight, first.weight[[0, 2, 5, 7]])


def test_filters_that_reach_the_output_stay() -> None:
    block = single(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    made, skipped = variants(block, (0.5,), "l1", 1)
    assert not made
    assert "no inner filters" in skipped[0].reason
    assert not prunable(block.module, block.input)


def test_a_filter_joined_to_the_input_by_a_shortcut_stays() -> None:
    block = blocks_of(networks.residual(), 3)[1]
    widest, _ = variants(block, (0.75,), "l1", 2)
    inner = [m.out_channels for m in block.module.modules() if isinstance(m, nn.Conv2d)]
    assert widest[0].filters_before < sum(inner)


def test_ratios_that_round_to_the_same_widths_make_one_variant() -> None:
    block = single(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
    made, skipped = variants(block, RATIOS, "l1", 8)
    assert [p.filters_after for p in made] == [8]
    assert [s.ratio for s in skipped] == [0.25, 0.75]
    assert all("lower the width multiple" in s.reason for s in skipped)


def test_a_channel_count_in_the_code_is_reported_instead_of_built() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.linear = nn.Linear(8 * 144, 4)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(self.conv(x).view(-1, 8 * 144))
            return logits

    made, skipped = variants(blocks_of(Fixed(), 1)[0], (0.5,), "l1", 2)
    assert not made
    assert skipped[0].block == 0


def test_groups_that_are_not_depthwise_stay() -> None:
    grouped = single(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU()
    )
    assert not prunable(grouped.module, grouped.input)


@pytest.mark.parametrize(
    ("filters", "ratio", "multiple", "kept"),
    [(64, 0.25, 8, 48), (64, 0.75, 16, 16), (16, 0.25, 8, 16), (6, 0.9, 4, 4), (3, 0.5, 8, 3), (10, 0.5, 1, 5)],
)
def test_kept_filters_are_multiples_and_never_none(filters: int, ratio: float, multiple: int, kept: int) -> None:
    assert kept_filters(filters, ratio, multiple) == kept


def test_a_block_may_take_vectors() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    last = blocks_of(network, 2)[1]
    assert last.input == TensorSpec("float32", last.input.shape)
    made, _ = variants(last, (0.5,), "l1", 1)
    assert made
