"""Problems that differ in one thing, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockstore.accuracy_model import LINEAR, AccuracyModel
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, PolicyOption, Problem
from schedulerd.optimizer.variations import (
    keeps_pins,
    only,
    other_than,
    pinned,
    position_of,
    relaxed,
    slower,
    with_budget,
)
from schedulerd.plan import Route
from tests.optimizer.brute import every_way
from tests.optimizer.problems import ROOMY, app_options, graded, policy_option, two_apps

POLICIES = (policy_option(3, {}), policy_option(3, {0: 0.5}, 0.01), policy_option(3, {}, 0.05, cap=0))
DAMAGES = tuple(tuple(0.1 * b + 0.01 * v for v in range(3)) for b in range(3))


def modelled() -> AppOptions:
    """Three blocks of three variants, three policies, and a model of accuracy."""
    model = AccuracyModel(LINEAR, 0.9, 0.0, 1.0, DAMAGES, (), None, ())
    return replace(app_options("cam", graded("cam"), policies=POLICIES), accuracy=model)


def route_of(app: AppOptions, policy: PolicyOption, *picks: int) -> Route:
    options = [block[pick] for block, pick in zip(app.blocks, picks, strict=False)]
    heads = tuple(head.digest for head in policy.heads)
    variants, digests = tuple(o.variant for o in options), tuple(o.digest for o in options)
    return Route(app.app.model, variants, digests, policy.policy, heads)


def names(app: AppOptions) -> set[tuple[object, ...]]:
    """Every route there is, as policy and variants."""
    return {(way.policy and way.policy.policy, *(option.variant for option in way.options)) for way in every_way(app)}


@pytest.mark.parametrize(("policy", "picks"), [(1, (2, 0, 1)), (2, (1,))])
def test_only_a_route_is_one_way_with_the_damages_of_its_options(policy: int, picks: tuple[int, ...]) -> None:
    app = modelled()
    route = route_of(app, POLICIES[policy], *picks)
    held = only(app, route)
    assert names(held) == {(route.policy, *route.variants)}
    assert held.accuracy is not None
    for block, pick in enumerate(picks):
        assert held.accuracy.damages[block] == (DAMAGES[block][pick],)
    assert held.app == app.app


@pytest.mark.parametrize(("policy", "picks"), [(0, (0, 0, 0)), (1, (2, 0, 1)), (2, (1,))])
def test_others_than_a_route_are_all_ways_but_one(policy: int, picks: tuple[int, ...]) -> None:
    app = modelled()
    route = route_of(app, POLICIES[policy], *picks)
    others = set().union(*map(names, other_than(app, route)))
    assert others == names(app) - {(route.policy, *route.variants)}


def test_others_than_the_only_route_are_none() -> None:
    app = only(modelled(), route_of(modelled(), POLICIES[0], 0, 1, 2))
    assert list(other_than(app, route_of(modelled(), POLICIES[0], 0, 1, 2))) == []


def test_others_keep_to_the_pins() -> None:
    app = replace(app_options("cam", graded("cam")), pins=("cam0v1", "", "gone"))
    route = route_of(app, POLICIES[0], 1, 1, 1)
    others = set().union(*map(names, other_than(app, route)))
    assert {ways[1] for ways in others} == {"cam0v1"}
    assert {ways[3] for ways in others} == {"cam2v0", "cam2v1", "cam2v2"}


def test_others_than_a_route_that_the_pins_exclude_are_all_that_they_allow() -> None:
    app = replace(app_options("cam", graded("cam")), pins=("cam0v1", "", ""))
    (others,) = other_than(app, route_of(app, POLICIES[0], 0, 0, 0))
    assert others == pinned(app)


def test_pins_leave_the_variants_they_name_and_no_pins() -> None:
    app = pinned(replace(modelled(), pins=("cam0v2", "", "gone")))
    assert [len(block) for block in app.blocks] == [1, 3, 3]
    assert app.accuracy is not None
    assert app.accuracy.damages[0] == (DAMAGES[0][2],)
    assert app.pins == ()
    assert pinned(modelled()) == modelled()


def test_a_pinned_policy_is_the_only_one_where_it_is_offered() -> None:
    steps = POLICIES[2].policy.steps
    held = replace(modelled(), pinned_exits=steps)
    assert [policy.policy.steps for policy in pinned(held).policies] == [steps]
    assert pinned(held).pinned_exits == ()
    gone = replace(modelled(), pinned_exits=(("exit9", 0.0),))
    assert pinned(gone).policies == modelled().policies, "what is not offered keeps nobody from running"
    assert pinned(replace(app_options("cam", graded("cam")), pinned_exits=steps)).policies == ()


def test_a_route_keeps_the_pins_that_can_be_kept() -> None:
    app = replace(modelled(), pins=("cam0v1", "", "gone"), pinned_exits=POLICIES[0].policy.steps)
    assert keeps_pins(app, route_of(app, POLICIES[0], 1, 2, 0))
    assert not keeps_pins(app, route_of(app, POLICIES[0], 0, 2, 0))
    assert not keeps_pins(app, route_of(app, POLICIES[1], 1, 2, 0))
    assert keeps_pins(replace(app, pinned_exits=(("exit9", 0.0),)), route_of(app, POLICIES[1], 1, 2, 0))
    deep = replace(modelled(), pins=("", "", "cam2v1"))
    assert keeps_pins(deep, route_of(deep, POLICIES[2], 0)), "no frame comes as far as that block"


def test_a_tenth_more_of_each_limit() -> None:
    problem = two_apps(memory_bytes=10_000_000, utilisation_cap=0.5, power_cap_w=4.0)
    cam, door = problem.apps
    problem = replace(problem, apps=(replace(cam, app=replace(cam.app, accuracy_floor=0.8)), door))

    def looser(limit: str) -> tuple[float, float, Problem]:
        found = relaxed(problem, limit, 0.1)
        return found.before, round(found.after, 9), found.problem

    before, after, changed = looser("memory")
    assert (before, after) == (10_000_000, 11_000_000)
    assert changed == replace(problem, limits=replace(problem.limits, memory_bytes=11_000_000))
    before, after, changed = looser("utilisation")
    assert (before, after, changed.limits.utilisation_cap) == (0.5, 0.55, pytest.approx(0.55))
    before, after, changed = looser("power")
    assert (before, after, changed.limits.power_cap_w) == (4.0, 4.4, pytest.approx(4.4))
    before, after, changed = looser("budget:door")
    assert (before, after, changed.apps[1].app.budget_ms) == (1000.0, 1100.0, pytest.approx(1100.0))
    assert changed.apps[0] == problem.apps[0]
    before, after, changed = looser("floor:cam")
    assert (before, after, changed.apps[0].app.accuracy_floor) == (0.8, 0.72, pytest.approx(0.72))
    assert changed.apps[1] == problem.apps[1]


def test_an_app_is_found_by_name_or_answered_with_those_there_are() -> None:
    assert position_of(two_apps(), "door") == 1
    with pytest.raises(KeyError, match="no app 'nobody'; there are cam, door"):
        position_of(two_apps(), "nobody")
    with pytest.raises(KeyError, match="there are none"):
        with_budget(Problem((), ROOMY), "cam", 1.0)


def test_on_a_slower_board_every_block_and_head_takes_longer_and_nothing_else_changes() -> None:
    app = modelled()
    problem = Problem((app,), ROOMY)
    slow = slower(problem, 1.5)
    for policy in POLICIES:
        route = route_of(app, policy, *(0,) * policy.depth)
        before, after = (predict(p, {"cam": route}, 1).apps[0] for p in (problem, slow))
        overhead_ms = ROOMY.overhead_ms
        assert after.latency_ms == pytest.approx(1.5 * before.latency_ms)
        assert after.latency_p95_ms - overhead_ms == pytest.approx(1.5 * (before.latency_p95_ms - overhead_ms))
        assert (after.accuracy, after.memory_bytes) == (before.accuracy, before.memory_bytes)
    assert slower(problem, 1.0) == problem
