"""Policies, curves and forecasts: what they say of a threshold, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from blockstore.errors import BadManifest, BadPolicy
from blockstore.exits import (
    ANY_UPSTREAM,
    FINAL,
    MAX_POLICIES,
    NEVER,
    NO_EXITS,
    Curve,
    CurvePoint,
    CurveSet,
    ExitPolicy,
    check_policy,
    curves_from,
    offered_from,
    policy_of,
)

NAN = float("nan")
DEPTHS = {"exit1": 0, "exit2": 2}


def curve(upstream: str, *points: tuple[float, float, float, float]) -> Curve:
    return Curve(upstream, tuple(CurvePoint(*point) for point in points))


GENERAL = curve(ANY_UPSTREAM, (0.0, 1.0, 0.6, 1.0), (0.5, 0.5, 0.8, 0.9), (0.9, 0.2, 1.0, 0.85))


def policy(*steps: tuple[str, float]) -> ExitPolicy:
    return ExitPolicy("own", steps)


@pytest.mark.parametrize(
    "steps",
    [
        ((FINAL, 0.0),),
        (("exit1", 0.5), (FINAL, 0.0)),
        (("exit1", 1.0), ("exit2", 0.001), (FINAL, 0.0)),
        (("exit1", 0.5), ("exit2", 0.0)),
        (("exit1", 0.0),),
    ],
    ids=str,
)
def test_a_policy_ends_at_the_network_or_at_an_exit_that_caps_the_depth(steps: tuple[tuple[str, float], ...]) -> None:
    check_policy(policy(*steps), DEPTHS)
    assert policy(*steps).last == steps[-1][0]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "has no exit at all: end it with 'final'"),
        (
            (("exit1", 0.5),),
            "has no final exit: .* under 0.5 would leave nowhere; end it with 'final', or give 'exit1'",
        ),
        ((("exit1", 0.5), (FINAL, 0.1)), "has no final exit: .*'final' is under 0.1"),
        ((("exit1", 0.5), ("exit9", 0.0)), "names exit 'exit9'; there are exit1, exit2, final"),
        ((("exit1", 1.5), (FINAL, 0.0)), "threshold of 'exit1' in policy 'own' is 1.5: it must be 0 to 1"),
        ((("exit1", -0.1), (FINAL, 0.0)), "is -0.1: it must be 0 to 1"),
        ((("exit1", NAN), (FINAL, 0.0)), "is nan: it must be 0 to 1"),
        ((("exit1", float("inf")), (FINAL, 0.0)), "is inf: it must be 0 to 1"),
        ((("exit2", 0.5), ("exit1", 0.5), (FINAL, 0.0)), "has 'exit1' after 'exit2': name exits by rising depth"),
        ((("exit1", 0.5), ("exit1", 0.6), (FINAL, 0.0)), "has 'exit1' after 'exit1'"),
        (((FINAL, 0.5), ("exit1", 0.0)), "has 'exit1' after 'final'"),
        ((("exit1", 0.0), (FINAL, 0.0)), "every frame leaves at 'exit1', .* nothing reaches 'final': leave out what"),
        ((("exit1", 0.0), ("exit2", 0.5), (FINAL, 0.0)), "nothing reaches 'exit2'"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(steps: tuple[tuple[str, float], ...], message: str) -> None:
    with pytest.raises(BadPolicy, match=message):
        check_policy(policy(*steps), DEPTHS)


def test_thresholds_in_any_order_become_a_policy_by_depth() -> None:
    made = policy_of({FINAL: 0.0, "exit2": 0.7, "exit1": 0.5}, DEPTHS)
    assert made.steps == (("exit1", 0.5), ("exit2", 0.7), (FINAL, 0.0))
    assert policy_of({"exit1": 0.0}, DEPTHS).last == "exit1"
    assert str(made) == "exit1>=0.5 exit2>=0.7 final"
    assert policy_of({FINAL: 0}, {}).steps == NO_EXITS.steps


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"exit3": 0.5, FINAL: 0.0}, "there is no exit 'exit3'; there are exit1, exit2, final"),
        ({"exit1": 0.5}, "has no final exit"),
        ({}, "has no exit at all"),
        ({"exit1": 0.0, "exit2": 0.5, FINAL: 0.0}, "nothing reaches 'exit2'"),
        ({"exit1": 2.0, FINAL: 0.0}, "is 2.0: it must be 0 to 1"),
    ],
)
def test_thresholds_that_are_no_policy_are_refused(thresholds: dict[str, float], message: str) -> None:
    with pytest.raises(BadPolicy, match=message):
        policy_of(thresholds, DEPTHS)


def test_a_curve_is_a_line_between_its_points_and_level_behind_them() -> None:
    at = GENERAL.at(0.7)
    assert (at.threshold, at.share, at.precision, at.rest_accuracy) == pytest.approx((0.7, 0.35, 0.9, 0.875))
    assert GENERAL.at(0.5) == GENERAL.points[1]
    assert GENERAL.at(0.0) == GENERAL.points[0]
    assert GENERAL.at(1.0) == GENERAL.points[-1]


def test_the_accuracy_of_a_confidence_is_that_of_the_frames_between_two_points() -> None:
    # From 0.5 to 0.9 lie 0.3 of the frames, of which 0.5 * 0.8 - 0.2 * 1.0 are right.
    assert GENERAL.accuracy_at(0.6) == pytest.approx((0.4 - 0.2) / 0.3)
    assert GENERAL.accuracy_at(0.1) == pytest.approx((0.6 - 0.4) / 0.5)
    assert GENERAL.accuracy_at(0.95) == 1.0
    assert GENERAL.accuracy_at(NAN) == 0.6


def test_the_accuracy_where_nothing_lies_between_two_points_is_that_below() -> None:
    flat = curve(ANY_UPSTREAM, (0.0, 0.5, 0.8, 0.5), (0.6, 0.5, 0.8, 0.5), (1.0, 0.0, 1.0, 0.5))
    assert flat.accuracy_at(0.3) == 0.8
    assert flat.accuracy_at(1.0) == pytest.approx(0.8)


def test_the_threshold_of_a_precision_keeps_it_from_there_on() -> None:
    dips = curve(ANY_UPSTREAM, (0.0, 1.0, 0.95, 1), (0.3, 0.8, 0.7, 1), (0.6, 0.5, 0.96, 1), (0.9, 0.0, 1.0, 1))
    assert dips.threshold_of_precision(0.9) == 0.6
    assert dips.threshold_of_precision(0.6) == 0.0
    # A point at which nobody leaves breaks no precision.
    assert dips.threshold_of_precision(0.99) is None, "at the last point no frame is left that could say so"
    assert GENERAL.threshold_of_precision(1.01) is None


def test_behind_variants_of_less_precision_the_threshold_rises_to_the_one_that_keeps_it() -> None:
    pruned = curve("pruned", (0.0, 1.0, 0.4, 1), (0.5, 0.5, 0.7, 1), (0.9, 0.2, 0.9, 1))
    curves = CurveSet((GENERAL, pruned))
    assert curves.of(("original", "original")) is GENERAL
    assert curves.of(("original", "pruned")) is pruned
    assert curves.threshold(0.5, ("pruned",)) == 0.9
    assert curves.threshold(0.5, ("original",)) == 0.5
    # Nothing there is as precise as 0.9 is in general; and where everybody leaves they go on leaving.
    assert curves.threshold(0.9, ("pruned",)) == NEVER
    assert curves.threshold(0.0, ("pruned",)) == 0.0
    assert curves.own() == ("pruned",)


def test_of_several_curves_the_cautious_one_counts() -> None:
    better, worse = (curve(n, (0.0, 1.0, p, 1), (1.0, 0.0, 1.0, 1)) for n, p in (("int8", 0.9), ("skip", 0.5)))
    assert CurveSet((GENERAL, better, worse)).of(("int8", "skip")) is worse


def point(threshold: float = 0.0, **change: float) -> dict[str, float]:
    return {"threshold": threshold, "share": 0.5, "precision": 0.9, "rest_accuracy": 0.8, **change}


def document(*points: dict[str, float], upstream: str = ANY_UPSTREAM) -> dict[str, Any]:
    return {"upstream": upstream, "points": list(points)}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "just one curve for any upstream"),
        ([document(point(), upstream="int8")], "just one curve for any upstream"),
        ([document(point()), document(point())], "just one curve for any upstream"),
        ([document()], "is empty or has a number outside 0 to 1"),
        ([document(point(share=1.1))], "outside 0 to 1"),
        ([document(point(precision=NAN))], "outside 0 to 1"),
        ([document(point(0.1))], r"has thresholds \[0.1\]: from 0, rising"),
        ([document(point(), point(0.5), point(0.5))], "from 0, rising"),
        ([document(point(share=0.2), point(0.5, share=0.3))], "has shares .*: they fall"),
    ],
)
def test_curves_that_say_nothing_are_refused(documents: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        curves_from(documents)


def offered(
    steps: list[tuple[str, float]], shares: list[float], drop: float = 0.01, name: str = "drop-1"
) -> dict[str, Any]:
    return {"policy": {"name": name, "steps": steps}, "forecast": {"shares": shares, "accuracy_drop": drop}}


TWO = [("exit1", 0.5), (FINAL, 0.0)]


def test_offered_policies_come_back_with_their_forecasts() -> None:
    (one,) = offered_from([offered(TWO, [0.25, 0.75])], DEPTHS)
    assert (one.policy.name, one.policy.steps) == ("drop-1", tuple(TWO))
    assert (one.forecast.shares, one.forecast.accuracy_drop) == ((0.25, 0.75), 0.01)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([offered([("exit7", 0.5), (FINAL, 0.0)], [0.5, 0.5])], "names exit 'exit7'"),
        ([offered([("exit1", 0.5)], [1.0])], "has no final exit"),
        ([offered(TWO, [1.0])], "forecasts shares .* one a step, 1 in all"),
        ([offered(TWO, [0.5, 0.4])], "one a step, 1 in all"),
        ([offered(TWO, [1.5, -0.5])], "one a step, 1 in all"),
        ([offered(TWO, [NAN, 1.0])], "one a step, 1 in all"),
        ([offered(TWO, [0.5, 0.5], drop=NAN)], "forecasts an accuracy drop of nan"),
        ([offered(TWO, [0.5, 0.5])] * 2, "2 policies; .* each with a name of its own"),
        (
            [offered(TWO, [0.5, 0.5], name=str(i)) for i in range(MAX_POLICIES + 1)],
            f"{MAX_POLICIES + 1} policies; there are at most {MAX_POLICIES}",
        ),
    ],
)
def test_offered_policies_that_make_no_sense_are_refused(documents: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        offered_from(documents, DEPTHS)
