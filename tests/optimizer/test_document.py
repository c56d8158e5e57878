"""Problems and plans as JSON: nothing is lost on the way, and nothing malformed comes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.accuracy_model import LOGISTIC, AccuracyModel, Evidence
from blockstore.exits import FINAL, ExitPolicy
from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.document import (
    PLAN_FORMAT,
    PROBLEM_FORMAT,
    plan_document,
    plan_from,
    problem_document,
    problem_from,
)
from schedulerd.optimizer.objectives import MIN_ENERGY
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import AppOptions, Limits, Problem
from schedulerd.optimizer.validate import BadProblem
from schedulerd.plan import EMPTY_PLAN, AppPlan, Excess, Pins, Plan, Route
from tests.optimizer.problems import random_problem, two_apps, with_arenas, with_policies

FULL_ROUTE = Route("m", ("a", "b"), ("1" * 64, "2" * 64), ExitPolicy("early", (("e0", 0.7), (FINAL, 0.0))), ("h0",))
FULL_PLAN = Plan(
    number=7,
    apps=(AppPlan("cam", FULL_ROUTE, 1.1, 2.2, 0.3, 4, 0.5, (0.6, 0.5), 0.1, 0.9, (0.25, 0.75), 12.5),),
    memory_bytes=10**12,
    memory_limit_bytes=2**40,
    utilisation=1 / 3,
    binding=("memory", "budget:cam"),
    status="time_limit",
    gap=None,
    solve_ms=0.1 + 0.2,
    weighted_accuracy=1 - 1e-16,
    broken=(Excess("budget:cam", 1e-9, 4),),
    objective=MIN_ENERGY,
    note="ran out of time",
)
"""A value other than its default in every field."""


HELD = Pins((("stem", "v1"),), (("final", 0.5),))


def full_problem() -> Problem:
    """A value other than its default in every field, the optional ones too."""
    problem = with_policies(random_problem(3, apps=2, blocks=2, variants=2), seed=3, count=2)
    model = AccuracyModel(
        LOGISTIC,
        0.9,
        0.1,
        2.5,
        ((0.0, 0.1), (0.0, 0.3)),
        ((), (0.2,)),
        0.004,
        (Evidence((0, 1), 0.8, True, {"top5": 0.9}),),
    )
    first, second = problem.apps
    told = replace(
        first,
        app=replace(first.app, late="exit", exits=FULL_ROUTE.policy, percentile=99.9, prepare_ms=1.5, pins=HELD),
        accuracy=model,
        running=FULL_ROUTE,
        pins=("", "v1"),
        pinned_exits=FULL_ROUTE.policy.steps,
        blocks=tuple(tuple(replace(o, energy_mj=1.5, engine="torch") for o in block) for block in first.blocks),
        policies=tuple(replace(p, heads_mj=(0.1, 0.0)) for p in first.policies),
    )
    limits = replace(problem.limits, power_cap_w=7.5)
    return Problem((told, second), limits, MIN_ENERGY, frozenset({"b", "a"}), swap_cost=0.002)


def through_json(document: dict[str, Any]) -> Any:
    return json.loads(json.dumps(document, allow_nan=False))


def test_a_problem_with_every_field_set_comes_back_as_it_was() -> None:
    problem = full_problem()
    assert problem_from(through_json(problem_document(problem))) == problem


@pytest.mark.parametrize("seed", range(5))
def test_problems_of_any_kind_come_back_as_they_were_and_so_do_their_plans(seed: int) -> None:
    problem = with_arenas(with_policies(random_problem(seed, apps=3, blocks=3), seed, count=3), seed)
    plan = plan_of(choose(problem, [(0, 1, 2)] * 3, [2, 1, 0]), seed)
    assert problem_from(through_json(problem_document(problem))) == problem
    assert plan_from(through_json(plan_document(plan))) == plan


def test_the_full_problem_leaves_no_field_at_its_default() -> None:
    """Guards the test above against fields that it forgets."""
    problem = full_problem()
    app = problem.apps[0]
    whole = (problem, problem.limits, app, app.app, app.blocks[0][0], app.policies[0], FULL_PLAN, FULL_PLAN.apps[0])
    at_default = {
        f"{type(value).__name__}.{field.name}"
        for value in whole
        for field in fields(value)
        if getattr(value, field.name) == field.default
    }
    # Random limits have one or two lanes, and the overhead of every test.
    assert at_default <= {"Limits.lanes", "Limits.overhead_ms"}


@pytest.mark.parametrize("plan", [FULL_PLAN, EMPTY_PLAN], ids=["full", "empty"])
def test_a_plan_comes_back_as_it_was(plan: Plan) -> None:
    assert plan_from(through_json(plan_document(plan))) == plan


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(min_value=0, max_value=2**63))
def test_numbers_come_back_to_the_last_bit(number: float, memory_bytes: int) -> None:
    problem = Problem((), Limits(memory_bytes, overhead_ms=number))
    back = problem_from(through_json(problem_document(problem))).limits
    assert (back.overhead_ms.hex(), back.memory_bytes) == (number.hex(), memory_bytes)


def test_equal_problems_are_equal_texts() -> None:
    one, other = (replace(full_problem(), resident=frozenset(names)) for names in ("abc", "cba"))
    assert json.dumps(problem_document(one)) == json.dumps(problem_document(other))


def test_a_document_says_its_format() -> None:
    assert problem_document(two_apps())["format"] == PROBLEM_FORMAT == "schedulerd-problem/1"
    assert plan_document(EMPTY_PLAN)["format"] == PLAN_FORMAT == "schedulerd-plan/1"


def test_what_is_not_finite_is_not_written() -> None:
    first, second = two_apps().apps
    nan = replace(first, full_accuracy=float("nan"))
    with pytest.raises(BadProblem, match=r"problem\.apps\[1\]\.full_accuracy is nan"):
        problem_document(Problem((second, nan), two_apps().limits))


def test_fields_that_came_later_may_be_missing() -> None:
    document = problem_document(two_apps())
    for late in ("objective", "resident", "swap_cost"):
        del document[late]
    for app in document["apps"]:
        del app["accuracy"], app["running"], app["pins"], app["app"]["percentile"]
    assert problem_from(document) == two_apps()


def edited(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = through_json(problem_document(full_problem()))
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d.update(format="schedulerd-problem/2"),
            "problem.format is 'schedulerd-problem/2', this version reads",
        ),
        (lambda d: d.pop("format"), "problem.format is None"),
        (lambda d: d.pop("limits"), "problem lacks the field 'limits'"),
        (lambda d: d.update(colour=1), "problem has the unknown field 'colour'"),
        (lambda d: d.update(apps={}), "problem.apps is {}; it must be a list"),
        (lambda d: d.update(resident="ab"), "problem.resident is 'ab'; it must be a list"),
        (lambda d: d.update(swap_cost=float("nan")), "problem.swap_cost is nan; it must be a finite number"),
        (lambda d: d.update(swap_cost=10**400), "it must be a finite number"),
        (lambda d: d.update(swap_cost=True), "problem.swap_cost is True; it must be a number"),
        (
            lambda d: d["limits"].update(memory_bytes=1.5),
            "problem.limits.memory_bytes is 1.5; it must be a whole number",
        ),
        (lambda d: d["limits"].update(lanes=None), "problem.limits.lanes is None; it must be a whole number"),
        (lambda d: d["apps"][1].update(app=7), "problem.apps[1].app is 7; it must be an object"),
        (
            lambda d: d["apps"][0]["blocks"][1][0].update(latency_ms="fast"),
            "problem.apps[0].blocks[1][0].latency_ms is 'fast'; it must be a number",
        ),
        (
            lambda d: d["apps"][0]["running"]["policy"]["steps"][0].append(1),
            "problem.apps[0].running.policy.steps[0] has 3 values, it must have 2",
        ),
        (
            lambda d: d["apps"][0]["accuracy"]["evidence"][0].update(checked="yes"),
            "problem.apps[0].accuracy.evidence[0].checked is 'yes'; it must be true or false",
        ),
        (
            lambda d: d["apps"][0]["accuracy"]["evidence"][0]["figures"].update(top5=[]),
            "problem.apps[0].accuracy.evidence[0].figures['top5'] is []",
        ),
        (lambda d: d["apps"][0]["app"].update(late=["x" * 100]), "...; it must be a text"),
    ],
)
def test_what_is_malformed_is_named_by_its_place(change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(BadProblem) as caught:
        problem_from(edited(change))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("document", [None, [], 3, "problem"])
def test_what_is_no_object_is_neither_problem_nor_plan(document: object) -> None:
    for read in (problem_from, plan_from):
        with pytest.raises(BadProblem, match="it must be an object"):
            read(document)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key or index into it."""
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from places(item)


@given(st.data())
def test_whatever_stands_in_a_document_is_read_or_refused(data: st.DataObject) -> None:
    document = through_json(problem_document(full_problem()))
    where = list(places(document))
    container, key = where[data.draw(st.integers(0, len(where) - 1))]
    json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    container[key] = data.draw(
        json_values | st.lists(json_values, max_size=2) | st.dictionaries(st.text(max_size=2), json_values, max_size=2)
    )
    try:
        found = problem_from(document)
    except BadProblem:
        return
    assert isinstance(found, Problem)
    assert all(isinstance(app, AppOptions) for app in found.apps)
