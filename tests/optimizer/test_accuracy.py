"""What routes lose: one by one as the store's model says, and many at once the same."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from blockstore.accuracy_model import KINDS
from schedulerd.optimizer.accuracy import damages_of, loss_at, loss_of, losses, most_accurate_picks
from schedulerd.optimizer.cost import policies_of
from tests.optimizer.problems import accuracy_model, app_options, graded, option, policy_option


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cosines", [None, (0.0, 0.7), (-0.9, -0.1), (-1.0, 1.0)])
@pytest.mark.parametrize("policies", [(), (policy_option(3, {}), policy_option(3, {0: 0.5}, 0.01, cap=1))])
def test_many_routes_at_once_lose_what_they_lose_one_by_one(
    kind: str, cosines: tuple[float, float] | None, policies: tuple[object, ...]
) -> None:
    rng = random.Random(7)  # noqa: S311 - draws test data, not secrets
    model = accuracy_model(rng, 3, 3, kind=kind, cosines=cosines)
    app = replace(app_options("cam", graded("cam")), accuracy=model, policies=policies)
    picks = list(itertools.product(range(3), repeat=3))
    for policy in policies_of(app):
        damages = np.array([[model.damages[b][i] * (b < policy.depth) for b, i in enumerate(row)] for row in picks])
        together = losses(model, damages) + policy.accuracy_drop
        assert together.tolist() == pytest.approx([loss_of(app, row, policy) for row in picks], abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_route_loses_what_the_model_predicts_for_it(kind: str) -> None:
    model = accuracy_model(random.Random(3), 3, 3, kind=kind, cosines=(-0.5, 0.5))  # noqa: S311 - test data
    app = replace(app_options("cam", graded("cam")), accuracy=model)
    (policy,) = policies_of(app)
    for picks in itertools.product(range(3), repeat=3):
        assert loss_of(app, picks, policy) == pytest.approx(model.original - model.predict(picks))


def test_drops_add_up_without_a_model_and_blocks_past_the_depth_lose_nothing() -> None:
    app = app_options("cam", graded("cam"), policies=(policy_option(3, {}), policy_option(3, {}, 0.004, cap=0)))
    whole, capped = app.policies
    assert loss_of(app, [1, 2, 1], whole) == pytest.approx(0.04)
    assert loss_of(app, [1, 2, 1], capped) == pytest.approx(0.014)
    assert losses(None, np.array([[0.01, 0.02, 0.0], [-0.01, 0.0, 0.0]])).tolist() == pytest.approx([0.03, -0.01])


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_begins_at_nothing_rises_and_ends_above_the_floor(kind: str) -> None:
    model = accuracy_model(random.Random(5), 3, 3, kind=kind)  # noqa: S311 - draws test data, not secrets
    curve = loss_at(model, np.linspace(0.0, 50.0, 500))
    assert curve[0] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(curve) >= -1e-12).all()
    assert curve[-1] == pytest.approx(model.original - model.floor, abs=1e-6)


def test_the_least_damaging_options_are_picked_and_the_faster_of_equals() -> None:
    block = (option("a", 3.0, 0.01), option("b", 2.0, 0.0), option("c", 1.0, 0.0), option("d", 1.0, 0.0))
    app = app_options("cam", (block, block[:1]))
    assert most_accurate_picks(app) == [2, 0]
    assert damages_of(app) == ((0.01, 0.0, 0.0, 0.0), (0.01,))


def test_a_models_damages_and_not_the_single_drops_say_what_is_most_accurate() -> None:
    model = replace(accuracy_model(random.Random(1), 1, 2), damages=((0.0, 0.2),))  # noqa: S311 - test data
    block = (option("a", 2.0, 0.3), option("b", 2.0, 0.0))
    app = replace(app_options("cam", (block,)), accuracy=model)
    assert most_accurate_picks(app) == [0]
