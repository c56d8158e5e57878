"""The next better route: one step away, worth its gain, and of the whole route's accuracy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blockstore.accuracy_model import WEIBULL, AccuracyModel
from blockstore.exits import NO_EXITS
from schedulerd.optimizer.neighbours import next_better
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.plan import Route
from tests.optimizer.problems import ROOMY, app_options, graded, option, policy_option


def route_of(app: AppOptions, *variants: str) -> Route:
    """The route of `app` through these variants, under its policy of that depth."""
    policies = [p for p in app.policies if p.depth == len(variants)]
    heads = tuple(head.digest for head in policies[0].heads) if policies else ()
    policy = policies[0].policy if policies else NO_EXITS
    return Route(app.app.model, variants, tuple(f"blob-{variant}" for variant in variants), policy, heads)


def step_from(app: AppOptions, *variants: str) -> Route | None:
    return next_better(Problem((app,), ROOMY), 0, route_of(app, *variants))


def test_the_smallest_gain_comes_next() -> None:
    block = (option("full", 8.0, 0.0), option("good", 6.0, 0.01), option("low", 2.0, 0.03))
    app = app_options("cam", (block,))
    assert step_from(app, "low") == route_of(app, "good")
    assert step_from(app, "good") == route_of(app, "full")
    assert step_from(app, "full") is None


def test_a_gain_that_another_step_outdoes_for_no_more_is_passed_over() -> None:
    """Half a point for 8 ms is not next where a whole one takes 7; for less memory it is."""
    full, low = option("full", 7.0, 0.0), option("low", 2.0, 0.01)
    odd = option("odd", 8.0, 0.005)
    app = app_options("cam", ((full, odd, low),))
    assert step_from(app, "low") == route_of(app, "full")
    app = app_options("cam", ((full, replace(odd, memory_bytes=500_000), low),))
    assert step_from(app, "low") == route_of(app, "odd")


def test_of_equal_gains_the_faster_one_comes_next() -> None:
    first = (option("full0", 5.0, 0.0), option("half0", 1.0, 0.01))
    second = (option("full1", 4.0, 0.0), option("half1", 1.0, 0.01))
    app = app_options("cam", (first, second))
    assert step_from(app, "half0", "half1") == route_of(app, "half0", "full1")


def test_gains_are_of_the_whole_route_where_drops_do_not_add_up() -> None:
    """Damages 0.2 and 0.3 together leave exp(-0.25) of the accuracy under a curve of shape 2, 0.3 alone exp(-0.09)."""
    blocks = tuple((option(f"full{b}", 4.0 + b, 0.0), option(f"half{b}", 1.0, 0.1 * b)) for b in range(2))
    model = AccuracyModel(WEIBULL, 0.9, 0.0, 2.0, ((0.0, 0.2), (0.0, 0.3)), (), None, ())
    app = replace(app_options("cam", blocks), accuracy=model)
    route = step_from(app, "half0", "half1")
    assert route == route_of(app, "full0", "half1")
    problem = Problem((app,), ROOMY)
    assert predict(problem, {"cam": route}).apps[0].accuracy == pytest.approx(0.9 * math.exp(-0.09))


def test_a_deeper_policy_takes_the_most_accurate_options_of_the_blocks_it_adds() -> None:
    policies = (policy_option(3, {}), policy_option(3, {}, 0.002, cap=0))
    app = app_options("plates", graded("plates"), policies=policies)
    assert step_from(app, "plates0v0") == route_of(app, "plates0v0", "plates1v0", "plates2v0")


def test_a_shallower_policy_that_is_more_accurate_cuts_the_route() -> None:
    policies = (policy_option(3, {}), policy_option(3, {}, -0.05, cap=1))
    app = app_options("plates", graded("plates"), policies=policies)
    assert step_from(app, "plates0v0", "plates1v0", "plates2v0") == route_of(app, "plates0v0", "plates1v0")


def test_pins_leave_the_other_blocks_to_step() -> None:
    app = replace(app_options("plates", graded("plates")), pins=("plates0v1", "plates1v1", ""))
    pinned = ("plates0v1", "plates1v1")
    assert step_from(app, *pinned, "plates2v1") == route_of(app, *pinned, "plates2v0")
    assert step_from(app, *pinned, "plates2v0") is None


def test_a_pin_that_matches_nothing_holds_nothing() -> None:
    app = replace(app_options("plates", graded("plates", blocks=1)), pins=("gone",))
    assert step_from(app, "plates0v1") == route_of(app, "plates0v0")


def test_a_route_that_is_not_offered_is_refused() -> None:
    with pytest.raises(KeyError, match=r"wants .*gone"):
        step_from(app_options("plates", graded("plates", blocks=1)), "gone")
