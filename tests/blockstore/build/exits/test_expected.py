"""What policies are expected to compute, from the manifest alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blockstore.blobs import digest_of
from blockstore.block import Exit, Model
from blockstore.build.exits.descent import OFF
from blockstore.build.exits.expected import cost_share, policy_multiply_adds, shares_text
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.offers import Searched, offers
from blockstore.build.exits.policies import outcome
from blockstore.build.exits.seen import Seen
from blockstore.exits import CurveSet
from tests.blockstore.samples import sample

BASE = sample(digest_of)
WORK = (1000, 3000, 2000, 500)


def model() -> Model:
    stem = BASE.blocks[0]
    blocks = tuple(
        replace(stem, index=i, variants=(replace(stem.variants[0], multiply_adds=work),)) for i, work in enumerate(WORK)
    )
    exits = tuple(
        Exit(f"exit{i + 1}", i, (i,), "flexdnn", "entropy", 1.0, (), 1, 100 * (i + 1), CurveSet()) for i in range(3)
    )
    return replace(BASE, blocks=blocks, exits=exits)


@pytest.mark.parametrize(
    "one",
    [
        Searched("all", (0.8, 0.6, 0.4), 3),
        Searched("some", (OFF, 0.6, OFF), 3),
        Searched("capped", (0.8, OFF), 2),
        Searched("at once", (), 0),
    ],
    ids=lambda one: one.name,
)
def test_the_cost_of_a_policy_is_that_of_the_frames_it_was_forecast_on(one: Searched) -> None:
    draw = np.random.default_rng(0)
    seen = Seen(draw.random((3, 200)), draw.integers(0, 2, (4, 200)).astype(float))
    costs = Costs(tuple(float(sum(WORK[: i + 1])) for i in (0, 1, 2, 3)), (100.0, 200.0, 300.0))
    (offered,) = offers([one], ("exit1", "exit2", "exit3"), seen, costs)
    if one.last == 3:
        expected = outcome(seen, costs, one.thresholds).cost
    else:
        short = Costs(costs.upto[: one.last + 1], costs.heads[: one.last])
        found = outcome(seen.ending_at(one.last), short, one.thresholds)
        expected = found.cost + found.shares[-1] * costs.heads[one.last]
    assert policy_multiply_adds(model(), offered) == pytest.approx(expected)
    assert cost_share(model(), offered) == pytest.approx(expected / sum(WORK))


def test_shares_are_told_in_words() -> None:
    seen = Seen(np.array([[0.9, 0.9, 0.1, 0.1]]), np.ones((2, 4)))
    (offered,) = offers([Searched("own", (0.5,), 1)], ("exit1",), seen, Costs((1.0, 2.0), (0.1,)))
    assert shares_text(offered) == "exit1 50%, final 50%"
