"""D-Pruner on a block: what its masks give up goes, or the reason is told."""

from __future__ import annotations

import pytest
from torch import nn

from blockstore.build.kinds import dpruner
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.masking import Choice
from blockstore.build.neck import where_to_learn
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import parameters, whole


def test_filters_go_and_the_output_keeps_its_shape() -> None:
    bench = whole(networks.residual)
    made = bench.reshape(dpruner.parse(["0.5", "0.8"]))
    inputs, target = next(bench.material.batches())
    assert int(made.facts["filters_after"]) < int(made.facts["filters_before"]) == 40
    assert parameters(made.module) < parameters(bench.block.module)
    assert made.module(inputs).shape == target.shape


def test_a_block_that_ends_in_a_vector_learns_at_its_neck_and_keeps_what_follows() -> None:
    bench = whole(networks.residual)
    made = bench.reshape(dpruner.parse(["0.5", "0.8"]))
    assert where_to_learn(made.module, bench.block.module, bench.block.input) is not None


def test_a_block_whose_only_inner_filters_are_its_neck_learns_at_its_output() -> None:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    bench = whole(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head))
    made = bench.reshape(dpruner.parse(["0.5", "0.6"]))
    assert int(made.facts["filters_after"]) < 8
    assert where_to_learn(made.module, bench.block.module, bench.block.input) is None


def test_where_no_filter_is_masked_often_enough_the_reason_says_how_often() -> None:
    with pytest.raises(Declined, match=r"no filter .* in more than 1 of the images, the most in [01].*: lower T"):
        whole(networks.residual).reshape(dpruner.DPruner(Choice(0.25, 1.0)))


def test_the_threshold_is_the_thesis_when_none_is_given() -> None:
    assert dpruner.parse(["0.2"]) == dpruner.DPruner(Choice(0.2, 0.95))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 arguments"),
        (["0"], "the share of filters that is masked is '0'"),
        (["0.2", "2"], "the share of images is '2'"),
        (["0.6", "0.5"], "all filters might; mask fewer"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        dpruner.parse(arguments)
