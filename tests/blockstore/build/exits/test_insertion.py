"""FlexDNN's insertion plan: its ratios, worked by hand, and its plans beside exhaustive search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.build.exits.insertion import Costs, Leaves, gain_ratios, insertion_plan


def nested(*shares: float, frames: int = 100) -> Leaves:
    """Exits at which these shares of the frames would leave: those that leave early would leave later too."""
    return np.array([np.arange(frames) < round(share * frames) for share in shares])


def expected_cost(leaves: Leaves, costs: Costs, kept: Sequence[int]) -> float:
    """What a frame costs on average where the `kept` exits are evaluated."""
    inside = np.ones(leaves.shape[1], dtype=bool)
    cost, behind = 0.0, 0.0
    for exit_ in kept:
        cost += float(inside.mean()) * (costs.upto[exit_] - behind + costs.heads[exit_])
        inside = inside & ~leaves[exit_]
        behind = costs.upto[exit_]
    return cost + float(inside.mean()) * (costs.whole - behind)


def exhaustive(leaves: Leaves, costs: Costs) -> tuple[int, ...]:
    """The cheapest of all subsets of the exits; of equally cheap ones the smallest."""
    exits = range(len(costs.heads))
    subsets = chain.from_iterable(combinations(exits, size) for size in range(len(exits) + 1))
    return min(subsets, key=lambda kept: expected_cost(leaves, costs, kept))


def test_the_ratios_are_those_of_the_paper_worked_by_hand() -> None:
    # The first exit spares 20% of the frames 90 of 100 and costs all of them 60: 0.2 * 90 / 60. The second one spares
    # another 10% of them 50, and costs the 80% that come to it 14: 0.1 * 50 / (0.8 * 14).
    leaves, costs = nested(0.2, 0.3), Costs((10.0, 50.0, 100.0), (60.0, 14.0))
    assert gain_ratios(leaves, costs, (0, 1)) == pytest.approx([0.3, 5 / 11.2])


def test_the_worst_goes_first_and_the_others_are_worked_out_again() -> None:
    # Both ratios are below 1. Without the first exit, more frames leave at the second: 0.3 * 50 / 14 is above 1.
    leaves, costs = nested(0.2, 0.3), Costs((10.0, 50.0, 100.0), (60.0, 14.0))
    assert max(gain_ratios(leaves, costs, (0, 1))) < 1
    assert gain_ratios(leaves, costs, (1,)) == pytest.approx([15 / 14])
    assert insertion_plan(leaves, costs) == (1,) == exhaustive(leaves, costs)


def test_what_is_expected_of_a_frame_worked_by_hand() -> None:
    # 50 and 14 of all, the other 50 of those 70% that stay.
    leaves, costs = nested(0.2, 0.3), Costs((10.0, 50.0, 100.0), (60.0, 14.0))
    assert expected_cost(leaves, costs, (1,)) == pytest.approx(50 + 14 + 0.7 * 50)
    assert expected_cost(leaves, costs, ()) == 100


def test_an_exit_just_worth_its_head_goes() -> None:
    assert gain_ratios(nested(0.5), Costs((60.0, 100.0), (20.0,)), (0,)) == [1.0]
    assert insertion_plan(nested(0.5), Costs((60.0, 100.0), (20.0,))) == ()


def test_an_exit_at_which_nobody_more_leaves_goes_and_a_head_for_nothing_stays() -> None:
    upto = (10.0, 20.0, 100.0)
    assert insertion_plan(nested(0.5, 0.51), Costs(upto, (5.0, 0.0))) == (0, 1)
    assert insertion_plan(nested(0.5, 0.5), Costs(upto, (5.0, 5.0))) == (0,)
    # Nobody comes to the second one at all.
    assert insertion_plan(nested(1.0, 1.0), Costs(upto, (5.0, 5.0))) == (0,)


@given(st.floats(0, 1), st.floats(1, 99), st.floats(0.1, 200))
def test_one_exit_is_kept_just_where_it_is_cheaper(share: float, upto: float, head: float) -> None:
    leaves, costs = nested(share), Costs((upto, 100.0), (head,))
    saved = expected_cost(leaves, costs, ()) - expected_cost(leaves, costs, (0,))
    if abs(saved) > 1e-9:
        assert insertion_plan(leaves, costs) == ((0,) if saved > 0 else ())


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(100, 200)), min_size=1, max_size=4))
def test_the_plan_is_that_of_exhaustive_search_where_exits_clearly_pay_or_do_not(
    exits: list[tuple[bool, float, float]],
) -> None:
    # One that pays takes half of the frames that come or more, and its head is small beside a block. One that does not
    # takes under a hundredth of them, by a head that costs 6% of the backbone.
    staying, shares, heads = 1.0, [], []
    whole = sum(block for _, _, block in exits) + 100
    for pays, part, _ in exits:
        staying *= 1 - (0.5 + part / 10 if pays else part / 125)
        shares.append(1 - staying)
        heads.append(10 + 20 * part if pays else 0.06 * whole)
    costs = Costs((*np.cumsum([block for _, _, block in exits]).tolist(), whole), tuple(heads))
    leaves = nested(*shares, frames=5000)
    assert insertion_plan(leaves, costs) == exhaustive(leaves, costs)


def test_exits_that_stand_close_may_both_stay_where_one_would_do() -> None:
    # G counts the whole backbone behind an exit as spared, though its frames would leave at the next one: the paper's
    # rule, which is no exhaustive search.
    leaves, costs = nested(0.3, 0.6), Costs((10.0, 12.0, 100.0), (5.0, 5.0))
    assert insertion_plan(leaves, costs) == (0, 1)
    assert exhaustive(leaves, costs) == (1,)


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_is_dearer_than_no_exits_however_frames_leave(seed: int) -> None:
    draw = np.random.default_rng(seed)
    exits = int(draw.integers(1, 6))
    leaves: npt.NDArray[np.bool_] = draw.random((exits, 50)) < draw.random((exits, 1))
    upto = np.cumsum(draw.uniform(1, 10, exits + 1))
    costs = Costs(tuple(upto.tolist()), tuple(draw.uniform(0.1, 20, exits).tolist()))
    plan = insertion_plan(leaves, costs)
    assert expected_cost(leaves, costs, plan) <= costs.whole
    assert all(ratio > 1 for ratio in gain_ratios(leaves, costs, plan))
