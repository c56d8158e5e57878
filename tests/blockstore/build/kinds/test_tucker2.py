"""Tucker-2: three smaller convolutions that compute nearly what the one did."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from blockstore.build.kinds import tucker2
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.tucker2 import Ranks, Tucker2, Weight, ranks_for
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import block_of, whole


def low_rank(outputs: int, inputs: int, ranks: Ranks, size: int = 3) -> Weight:
    """A weight of exactly these ranks."""
    draw = np.random.default_rng(0).standard_normal
    core = draw((ranks.outputs, ranks.inputs, size, size))
    weight: Weight = np.einsum("abxy,oa,ib->oixy", core, draw((outputs, ranks.outputs)), draw((inputs, ranks.inputs)))
    return weight


def convolution(weight: Weight, **options: object) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], **options)  # type: ignore[arg-type]  # any
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
    return layer


def test_the_ranks_of_a_weight_that_has_some_are_found() -> None:
    assert ranks_for(low_rank(16, 12, Ranks(5, 3)), 0.999999) == Ranks(5, 3)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_ranks_keep_the_wanted_share_and_less_would_not(share: float) -> None:
    weight = np.random.default_rng(0).standard_normal((16, 12, 3, 3))
    ranks = ranks_for(weight, share)
    outputs = np.linalg.svd(weight.reshape(16, -1))[0]
    inputs = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(12, -1))[0]
    core = np.square(np.einsum("oixy,oa,ib->abxy", weight, outputs, inputs)).sum((2, 3)) / np.square(weight).sum()
    assert core[: ranks.outputs, : ranks.inputs].sum() >= share
    assert core[: ranks.outputs, : ranks.inputs - 1].sum() < share
    assert core[: ranks.outputs - 1].sum() < (1 + share) / 2


def test_ranks_are_never_more_than_an_unfolding_can_have() -> None:
    ranks = ranks_for(low_rank(32, 1, Ranks(9, 1)), 0.999999)
    assert ranks == Ranks(9, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"stride": 2, "padding": 2, "dilation": 2},
        {"padding": 1, "padding_mode": "reflect", "bias": False},
    ],
)
def test_a_convolution_of_low_rank_is_reproduced(options: dict[str, object]) -> None:
    bench = block_of(convolution(low_rank(16, 4, Ranks(3, 2)), **options))
    made = bench.reshape(Tucker2(0.999999))
    assert bench.error(made.module) < 1e-9
    shapes = [tuple(m.weight.shape) for m in made.module.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(2, 4, 1, 1), (3, 2, 3, 3), (16, 3, 1, 1)]


def test_more_of_the_variance_comes_nearer() -> None:
    bench = whole(networks.residual)
    errors = [bench.error(bench.reshape(Tucker2(share)).module) for share in (0.4, 0.6, 0.8)]
    assert errors == sorted(errors, reverse=True)


def test_a_convolution_that_would_not_get_cheaper_stays() -> None:
    full = nn.Conv2d(16, 4, 3, padding=1)
    bench = block_of(nn.Sequential(convolution(low_rank(16, 4, Ranks(2, 2)), padding=1), nn.ReLU(), full))
    made = bench.reshape(Tucker2(0.99))
    assert (made.facts["convolutions"], made.facts["decomposed"]) == (2, 1)
    assert any(m.weight.shape == full.weight.shape for m in made.module.modules() if isinstance(m, nn.Conv2d))


def test_ranks_are_rounded_up_where_that_is_no_slower_and_stay_exact_elsewhere() -> None:
    bench = block_of(convolution(low_rank(32, 4, Ranks(5, 3)), padding=1), multiple=4)
    made = bench.reshape(Tucker2(0.999999))
    # The bench's latency is the number of parameters.
    assert made.facts["widths"] == "exact"
    assert float(made.facts["aligned_latency_share"]) > 1


def test_where_nothing_gets_cheaper_the_reason_says_what_to_do() -> None:
    torch.manual_seed(1)
    with pytest.raises(Declined, match=r"0\.99 of the variance needs ranks .*: lower the share"):
        block_of(nn.Conv2d(4, 4, 3)).reshape(Tucker2(0.99))


def test_without_a_larger_convolution_there_is_no_variant() -> None:
    depthwise = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1))
    with pytest.raises(Declined, match="no convolution of one group is larger than 1x1"):
        block_of(depthwise).reshape(Tucker2(0.5))


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(CannotBuild, match="the share of the variance that is kept is '2'"):
        tucker2.parse(["2"])
