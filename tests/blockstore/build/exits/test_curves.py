"""Curves made of what an exit has seen."""

from __future__ import annotations

import numpy as np
import pytest

from blockstore.build.exits.curves import curve, curves, differs
from blockstore.build.exits.seen import Floats, Seen
from blockstore.exits import ANY_UPSTREAM, curves_from

CONFIDENCE = np.linspace(0.0, 1.0, 101)
WORTH = (CONFIDENCE > 0.4).astype(float)
FULL = (CONFIDENCE > 0.1).astype(float)
NAN = float("nan")


def at_hand(threshold: float, confidence: Floats = CONFIDENCE) -> tuple[float, float, float]:
    """Share, precision, and accuracy of the rest, counted."""
    leaves = confidence >= threshold
    return float(leaves.mean()), float(WORTH[leaves].mean()), float(FULL[~leaves].mean())


def test_each_point_is_what_its_threshold_does() -> None:
    made = curve(CONFIDENCE, WORTH, FULL)
    assert made.upstream == ANY_UPSTREAM
    assert made.points[0].threshold == 0.0
    for point in made.points[1:-1]:
        assert (point.share, point.precision, point.rest_accuracy) == pytest.approx(at_hand(point.threshold), abs=1e-4)


def test_between_points_it_is_near_what_the_threshold_does() -> None:
    made = curve(CONFIDENCE, WORTH, FULL)
    for threshold in (0.33, 0.57, 0.81):
        point = made.at(threshold)
        found = (point.share, point.precision, point.rest_accuracy)
        assert found == pytest.approx(at_hand(threshold), abs=0.02)


def test_a_manifest_takes_the_points_of_any_frames() -> None:
    draw = np.random.default_rng(3)
    for confidence in (draw.random(7), np.full(9, 0.5), np.full(9, NAN), np.zeros(3), np.ones(1)):
        worth = draw.integers(0, 2, len(confidence)).astype(float)
        made = curve(confidence, worth, worth)
        points = [{n: getattr(p, n) for n in ("threshold", "share", "precision", "rest_accuracy")} for p in made.points]
        assert curves_from([{"upstream": ANY_UPSTREAM, "points": points}]).curves == (made,)


def test_what_is_no_number_leaves_at_no_threshold_above_0() -> None:
    confidence = np.where(np.arange(101) < 50, NAN, 0.9)
    made = curve(confidence, WORTH, FULL)
    assert made.points[0].share == 1.0
    assert all(point.share <= round(51 / 101, 4) for point in made.points[1:])
    assert curve(np.full(20, NAN), np.ones(20), np.ones(20)).at(0.5).share == 0.0


def test_an_upstream_has_a_curve_of_its_own_only_where_it_differs() -> None:
    general = Seen(CONFIDENCE[None], np.stack([WORTH, FULL]))
    same = Seen(CONFIDENCE[None].copy(), np.stack([WORTH, FULL]))
    # As sure as before, and more often wrong; and less sure.
    wrong = Seen(CONFIDENCE[None], np.stack([(CONFIDENCE > 0.7).astype(float), FULL]))
    unsure = Seen(CONFIDENCE[None] * 0.8, np.stack([WORTH, FULL]))
    made = curves(general, {"wrong": wrong, "same": same, "unsure": unsure}, 0)
    assert [c.upstream for c in made.curves] == [ANY_UPSTREAM, "unsure", "wrong"]
    assert made.of(("same",)).upstream == ANY_UPSTREAM
    assert made.of(("original", "wrong")).upstream == "wrong"


def test_the_precision_of_a_handful_of_frames_is_no_difference() -> None:
    confidence = np.where(np.arange(100) < 3, 0.96, 0.1)
    right = curve(confidence, np.ones(100), np.ones(100))
    few_wrong = curve(confidence, np.where(np.arange(100) < 1, 0.0, 1.0), np.ones(100))
    assert not differs(right, few_wrong)
    assert differs(right, curve(confidence, np.zeros(100), np.ones(100)))
