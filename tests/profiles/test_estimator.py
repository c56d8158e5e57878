"""Predictions beside measured blocks, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from blockprofiles.estimator import distances, estimator, rows_of
from blockprofiles.operators import Operator
from blockprofiles.regression import Sample
from tests.profiles.test_regression import POINTWISE, SPATIAL, convolution, law_ms

GROUPS = ("a", "b", "c", "d", "e")


def block(channels: int, side: int) -> tuple[Operator, ...]:
    return convolution(SPATIAL, channels, side), convolution(POINTWISE, channels, side)


def samples(spread: float = 0.0) -> list[Sample]:
    """Blocks of five models that follow the law, give or take `spread`."""
    draw = np.random.default_rng(0)
    found = []
    for number, group in enumerate(GROUPS):
        for channels in (8, 16, 24, 40, 56, 72):
            made = block(channels, 8 + 4 * number)
            found.append(Sample(made, law_ms(made) * float(np.exp(spread * draw.standard_normal())), group))
    return found


def broken_law_ms(channels: int) -> float:
    """Beyond 60 channels everything takes half as long again, as where a cache ends: no weights say that."""
    return law_ms(block(channels, 16)) * (1.5 if channels > 60 else 1.0)


def broken() -> list[Sample]:
    """Models of ever wider blocks."""
    return [Sample(block(c, 16), broken_law_ms(c), GROUPS[c // 24]) for c in range(4, 116, 4)]


def test_a_block_beside_measured_ones_is_corrected_by_their_error() -> None:
    predictor = estimator(broken())
    for channels in (58, 66, 82):
        alone = predictor.corrected.regression.cost(block(channels, 16)) / broken_law_ms(channels)
        beside = predictor.predict(block(channels, 16)).value / broken_law_ms(channels)
        assert abs(beside - 1) < max(0.02, abs(alone - 1) / 2)


def test_a_block_that_was_measured_is_predicted_as_measured() -> None:
    predictor = estimator(broken())
    errors = [abs(predictor.predict(s.operators, s.group).value / s.measured - 1) for s in broken()]
    assert np.median(errors) < 0.02


def test_intervals_hold_for_about_19_of_20_blocks() -> None:
    known = samples(spread=0.15)
    predictor = estimator([s for s in known if s.group != "d"])
    left = [s for s in known if s.group == "d"]
    inside = [
        abs(s.measured / p.value - 1) <= p.uncertainty for s in left for p in [predictor.predict(s.operators, s.group)]
    ]
    assert sum(inside) >= len(left) - 1


def test_less_is_sure_of_what_is_farther_from_all_that_was_measured() -> None:
    predictor = estimator(samples(spread=0.05))
    near, far = predictor.predict(block(40, 16), "c"), predictor.predict(block(400, 64), "c")
    assert near.uncertainty < far.uncertainty


def test_less_is_sure_of_another_model_than_of_one_that_was_measured_in_part() -> None:
    predictor = estimator(broken())
    made = block(62, 16)
    assert predictor.predict(made, GROUPS[2]).uncertainty < predictor.predict(made, "another").uncertainty


def test_of_few_samples_little_is_sure() -> None:
    predictor = estimator(samples()[:3])
    assert predictor.predict(block(64, 16), "a").uncertainty > 0.2


def test_distances_are_those_of_the_parts_relative_to_the_larger() -> None:
    rows = rows_of([{"x": 1.0}, {"x": 0.5}, {"y": 1.0}, {"z": 1.0}], ["x", "y"])
    assert distances(rows, rows)[0] == pytest.approx([0.0, 0.5, 2.0, 2.0])
    assert rows[3] == pytest.approx([0.0, 0.0, 1.0])
