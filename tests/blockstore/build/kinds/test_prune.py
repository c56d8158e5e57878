"""Prune: fewer inner filters, those of least importance gone; input and output as before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from blockstore.build.kinds import prune
from blockstore.build.kinds.base import Declined
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import Bench, block_of, concatenating, parameters, whole

TWO = (nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


def first_weight(module: nn.Module) -> torch.Tensor:
    return next(m for m in module.modules() if isinstance(m, nn.Conv2d)).weight


def with_latency(bench: Bench, latency_ms: Callable[[int], float]) -> Bench:
    """`bench` where a module's latency is a function of the filters of its first convolution."""
    measured = dataclasses.replace(
        bench.material, latencies_ms=lambda modules, _: [latency_ms(len(first_weight(m))) for m in modules]
    )
    return dataclasses.replace(bench, material=measured)


@pytest.mark.parametrize("importance", prune.IMPORTANCES)
@pytest.mark.parametrize("make", [networks.residual, networks.plain, networks.depthwise])
def test_higher_ratios_leave_less_and_keep_what_leaves(make: Callable[[], nn.Module], importance: str) -> None:
    bench = whole(make)
    made = [bench.reshape(prune.parse([ratio, importance])) for ratio in ("0.25", "0.5", "0.75")]
    sizes = [parameters(bench.block.module), *(parameters(m.module) for m in made)]
    assert sizes == sorted(set(sizes), reverse=True)
    inputs, target = next(bench.material.batches())
    assert all(m.module(inputs).shape == target.shape for m in made)


def test_concatenated_filters_are_pruned_too() -> None:
    facts = block_of(concatenating()).reshape(prune.parse(["0.5"])).facts
    assert (facts["filters_before"], facts["filters_after"]) == (44, 22)


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_the_filters_of_smallest_norm_go(importance: str) -> None:
    network = nn.Sequential(*TWO)
    with torch.no_grad():
        first_weight(network)[[1, 3, 4, 6]] *= 0.01
    half = block_of(network).reshape(prune.parse(["0.5", importance])).module
    assert torch.equal(first_weight(half), first_weight(network)[[0, 2, 5, 7]])


def test_by_activation_the_filters_that_never_fire_go_whatever_their_norm() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    with torch.no_grad():
        first_weight(network)[[1, 3, 4, 6]] *= 5
        network[0].get_parameter("bias")[[1, 3, 4, 6]] = -1e3
    bench = block_of(network)
    assert bench.error(bench.reshape(prune.parse(["0.5", "activation"])).module) < 1e-9
    assert bench.error(bench.reshape(prune.parse(["0.5", "l1"])).module) > 0.01


def test_widths_are_rounded_up_where_that_is_no_slower() -> None:
    bench = with_latency(block_of(nn.Sequential(*TWO), multiple=4), lambda _: 1.0)
    made = bench.reshape(prune.parse(["0.7"]))
    assert len(first_weight(made.module)) == made.facts["filters_after"] == 4
    assert made.facts["widths"] == "aligned"
    assert made.facts["aligned_latency_share"] == 1.0


def test_widths_stay_exact_where_more_filters_are_slower() -> None:
    bench = with_latency(block_of(nn.Sequential(*TWO), multiple=4), float)
    made = bench.reshape(prune.parse(["0.7"]))
    assert len(first_weight(made.module)) == made.facts["filters_after"] == 2
    assert made.facts["widths"] == "exact"
    assert made.facts["aligned_latency_share"] == 2.0


def test_a_rounding_that_would_remove_nothing_is_not_measured() -> None:
    bench = block_of(nn.Sequential(*TWO), multiple=8)
    assert "aligned_latency_share" not in bench.reshape(prune.parse(["0.25"])).facts


def test_without_inner_filters_the_reason_says_what_to_do() -> None:
    with pytest.raises(Declined, match=r"no inner filters: .* cut larger blocks"):
        block_of(nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU())).reshape(prune.parse(["0.5"]))


def test_a_ratio_that_removes_nothing_is_declined_with_the_widths() -> None:
    with pytest.raises(Declined, match=r"without 0\.05 of them all 8 inner filters stay .*: raise the ratio"):
        block_of(nn.Sequential(*TWO)).reshape(prune.parse(["0.05"]))


@pytest.mark.parametrize(("filters", "ratio", "kept"), [(64, 0.25, 48), (6, 0.9, 1), (3, 0.5, 2), (10, 0.5, 5)])
def test_the_nearest_number_of_filters_is_kept_and_never_none(filters: int, ratio: float, kept: int) -> None:
    assert prune.kept_filters(filters, ratio) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 arguments"),
        (["1.5"], "the share of filters that goes is '1.5'"),
        (["0.5", "l3"], "importance is 'l3': one of l1, l2, activation"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        prune.parse(arguments)
