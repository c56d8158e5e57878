"""The search for thresholds, beside brute force, and what policies are said to do, beside frames run one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from blockstore.build.exits.descent import IDLE, OFF, Thresholds, along
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.policies import (
    LEAST_LEAVING,
    Outcome,
    by_precision,
    cheapest,
    most_accurate,
    outcome,
)
from blockstore.build.exits.seen import Seen

NAN = float("nan")
COSTS = Costs((20.0, 50.0, 100.0), (4.0, 6.0))


def seen(seed: int, frames: int = 300, exits: int = 2) -> Seen:
    """Exits that are right the more often the surer they are, deeper ones more often."""
    draw = np.random.default_rng(seed)
    hardness = draw.random(frames)
    skill = np.linspace(0.6, 0.95, exits + 1)[:, None]
    worth = (draw.random((exits + 1, frames)) > hardness * (1.3 - skill)).astype(float)
    confidence = np.round(np.clip(1 - hardness + draw.normal(0, 0.15, (exits, frames)), 0, 1), 2)
    return Seen(confidence.astype(np.float64), worth)


def one_by_one(seen: Seen, costs: Costs, thresholds: tuple[float, ...]) -> Outcome:
    """The policy as an executor would run it."""
    left, right, cost = [0] * len(seen.worth), 0.0, 0.0
    frames = seen.worth.shape[1]
    for frame in range(frames):
        behind = 0.0
        for exit_, threshold in enumerate(thresholds):
            if threshold == OFF:
                continue
            cost += costs.upto[exit_] - behind + costs.heads[exit_]
            behind = costs.upto[exit_]
            if seen.confidence[exit_, frame] >= threshold:
                break
        else:
            exit_ = len(thresholds)
            cost += costs.whole - behind
        left[exit_] += 1
        right += seen.worth[exit_, frame]
    return Outcome(tuple(n / frames for n in left), right / frames, cost / frames)


@pytest.mark.parametrize("thresholds", [(0.5, 0.7), (OFF, 0.4), (0.9, OFF), (OFF, OFF), (0.01, 0.5)])
def test_an_outcome_is_that_of_frames_run_one_by_one(thresholds: tuple[float, ...]) -> None:
    images = seen(0)
    expected, got = one_by_one(images, COSTS, thresholds), outcome(images, COSTS, thresholds)
    assert got.shares == pytest.approx(expected.shares)
    assert (got.accuracy, got.cost) == pytest.approx((expected.accuracy, expected.cost))


def test_what_is_no_number_leaves_nowhere() -> None:
    worth = np.ones((2, 40))
    images = Seen(np.full((1, 40), NAN), worth)
    assert outcome(images, Costs((1.0, 2.0), (0.1,)), (0.01,)).shares == (0.0, 1.0)
    assert by_precision(images, 0.5) == (OFF,)
    assert cheapest(images, Costs((1.0, 2.0), (0.1,)), 0.0) == (OFF,)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("precision", [0.9, 0.99, 1.0])
def test_thresholds_keep_the_wanted_precision_on_what_they_were_searched_on(seed: int, precision: float) -> None:
    images = seen(seed, exits=3)
    staying = np.ones(images.worth.shape[1], dtype=bool)
    for exit_, threshold in enumerate(by_precision(images, precision)):
        leaves = staying & (images.confidence[exit_] >= threshold)
        if threshold != OFF:
            assert leaves.sum() >= LEAST_LEAVING
            assert images.worth[exit_][leaves].sum() >= precision * images.worth[-1][leaves].sum()
        staying &= ~leaves


def test_the_threshold_is_the_lowest_that_keeps_the_precision() -> None:
    confidence = np.linspace(1.0, 0.01, 100)
    worth = np.stack([np.where(confidence > 0.6, 1.0, 0.0), np.ones(100)])
    # Of the 40 above 0.6 all are right; with n below it, 40 / (40 + n) are.
    (threshold,) = by_precision(Seen(confidence[None], worth), 0.8)
    assert threshold == pytest.approx(confidence[49])


def test_a_few_frames_that_happen_to_be_right_make_no_threshold() -> None:
    confidence = np.linspace(1.0, 0.01, 100)
    worth = np.stack([np.where(np.arange(100) < LEAST_LEAVING - 1, 1.0, 0.0), np.ones(100)])
    assert by_precision(Seen(confidence[None], worth), 1.0) == (OFF,)


def test_a_threshold_can_be_written_in_a_policy() -> None:
    # In four decimals, and never 0, which is for the last step alone.
    draw = np.random.default_rng(0)
    (threshold,) = by_precision(Seen(draw.random((1, 500)) * 0.0002, np.ones((2, 500))), 0.99)
    assert threshold == 0.0001
    (threshold,) = by_precision(Seen(draw.random((1, 500)), np.ones((2, 500))), 0.99)
    assert threshold == round(threshold, 4)


def coarse(seed: int) -> Seen:
    """Of so few different confidences that every policy can be tried."""
    images = seen(seed)
    return Seen(np.round(images.confidence, 1), images.worth)


def brute_force(images: Seen) -> list[Outcome]:
    steps = [*(step / 10 for step in range(1, 11)), OFF]
    return [outcome(images, COSTS, thresholds) for thresholds in product(steps, steps)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("drop", [0.0, 0.01, 0.05])
def test_the_cheapest_is_what_brute_force_finds(seed: int, drop: float) -> None:
    images = coarse(seed)
    least = images.full_accuracy - drop
    found = outcome(images, COSTS, cheapest(images, COSTS, least))
    assert found.accuracy >= least - 1e-9
    assert found.cost <= min(o.cost for o in brute_force(images) if o.accuracy >= least) + 1e-9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_the_most_accurate_is_what_brute_force_finds(seed: int, share: float) -> None:
    images = coarse(seed)
    thresholds = most_accurate(images, COSTS, share * COSTS.whole)
    assert thresholds is not None
    found = outcome(images, COSTS, thresholds)
    assert found.cost <= share * COSTS.whole + 1e-6
    assert found.accuracy >= max(o.accuracy for o in brute_force(images) if o.cost <= share * COSTS.whole) - 1e-9


def test_a_cost_below_that_of_leaving_at_once_has_no_policy() -> None:
    assert most_accurate(seen(0), COSTS, 10.0) is None


def test_without_an_exit_that_helps_none_is_enabled() -> None:
    draw = np.random.default_rng(0)
    worth = np.stack([np.zeros(100), np.zeros(100), np.ones(100)])
    assert cheapest(Seen(draw.random((2, 100)), worth), COSTS, 1.0) == (OFF, OFF)


@pytest.mark.parametrize("seed", range(3))
def test_where_every_head_is_evaluated_none_is_free(seed: int) -> None:
    """As in BranchyNet: a head that nobody leaves at costs what it costs, and no policy is cheaper for that."""
    images = seen(seed)
    least = images.full_accuracy - 0.005
    with_choice, without = cheapest(images, COSTS, least), cheapest(images, COSTS, least, IDLE)
    assert OFF not in without
    assert outcome(images, COSTS, without).accuracy >= least - 1e-9
    assert outcome(images, COSTS, without).cost >= outcome(images, COSTS, with_choice).cost
    nobody = outcome(images, COSTS, (IDLE, IDLE))
    assert nobody.cost == COSTS.whole + sum(COSTS.heads)
    assert nobody.shares == (0.0, 0.0, 1.0)


def test_images_seen_by_some_of_the_exits_keep_the_end_of_the_network() -> None:
    images = seen(0, exits=3)
    assert np.array_equal(images.of([0, 2]).worth, images.worth[[0, 2, 3]])
    short = images.ending_at(1)
    assert short.full_accuracy == float(images.worth[1].mean())
    assert short.confidence.shape == (1, 300)


@pytest.mark.parametrize("thresholds", [(0.5, 0.6, 0.7), (OFF, 0.4, OFF), (OFF, OFF, OFF)])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_all_thresholds_of_one_exit_at_once_are_each_an_outcome(thresholds: Thresholds, position: int) -> None:
    images = seen(1, exits=3)
    images.confidence[position, ::7] = NAN
    costs = Costs((20.0, 50.0, 70.0, 100.0), (4.0, 6.0, 5.0))
    tried = np.array([0.05, 0.5, 0.51, 1.0, OFF])
    accuracies, expected = along(images, costs, thresholds, position, tried)
    for threshold, accuracy, cost in zip(tried, accuracies, expected, strict=True):
        policy = (*thresholds[:position], float(threshold), *thresholds[position + 1 :])
        found = outcome(images, costs, policy)
        assert (accuracy, cost) == pytest.approx((found.accuracy, found.cost))
