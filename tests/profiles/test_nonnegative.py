"""Least squares without negative weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockprofiles.nonnegative import nonnegative_least_squares


def test_weights_that_are_positive_anyway_are_those_of_least_squares() -> None:
    matrix = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    assert nonnegative_least_squares(matrix, np.array([1.0, 3.0, 5.0])) == pytest.approx([1.0, 2.0])


def test_a_weight_that_would_be_negative_is_nothing_and_the_others_make_up_for_it() -> None:
    matrix = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nonnegative_least_squares(matrix, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])


@given(st.integers(0, 10_000))
def test_no_change_of_one_weight_makes_it_better(seed: int) -> None:
    draw = np.random.default_rng(seed)
    matrix = draw.random((12, 6)) * (draw.random((12, 6)) < 0.5)
    matrix[:, 1] = matrix[:, 0]
    target = draw.standard_normal(12) + 0.5
    weights = nonnegative_least_squares(matrix, target)
    gradient = matrix.T @ (matrix @ weights - target)
    assert (weights >= 0).all()
    # Karush-Kuhn-Tucker: flat where the weight is free, rising where it is bound.
    assert np.abs(gradient[weights > 0]).max(initial=0.0) < 1e-7
    assert gradient.min() > -1e-7
