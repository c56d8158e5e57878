"""Budgets, rates and floors of clients follow from what their models cost on the board, as those of the demo do."""

from __future__ import annotations

from typing import Any

import pytest

from schedulerd.scenes import cast as casting
from schedulerd.scenes.cast import Role
from schedulerd.scenes.library import find
from schedulerd.scenes.script import ClientScript, SceneFailed

DEMO = find("demo").clients


def cast(models: list[dict[str, Any]], clients: tuple[ClientScript, ...] = DEMO) -> tuple[Role, ...]:
    return casting.cast(clients, models)


def model(name: str, lossless_p95_ms: float = 5.0) -> dict[str, Any]:
    return {"model": name, "lossless_p95_ms": lossless_p95_ms, "accuracy": 0.95}


def test_each_of_three_models_gets_an_app_of_its_own_priority() -> None:
    roles = cast([model("c"), model("a"), model("d"), model("b")])
    assert [role.model for role in roles] == ["a", "b", "c"]
    assert len({role.app for role in roles}) == len({role.priority for role in roles}) == 3


@pytest.mark.parametrize("lossless_p95_ms", [5.0, 200.0])
def test_half_the_budget_of_the_hurried_app_is_hardly_more_than_its_route(lossless_p95_ms: float) -> None:
    hurried, *others = sorted(cast([model(name, lossless_p95_ms) for name in "abc"]), key=lambda r: r.budget_ms)
    assert hurried.app == "plates"
    assert lossless_p95_ms < hurried.budget_ms / 2 < 1.4 * lossless_p95_ms
    # The others have room for a frame of each app.
    assert all(role.budget_ms > 3 * lossless_p95_ms for role in others)


@pytest.mark.parametrize("lossless_p95_ms", [0.2, 5.0, 200.0])
def test_calm_leaves_the_lane_room(lossless_p95_ms: float) -> None:
    roles = cast([model(name, lossless_p95_ms) for name in "abc"])
    assert sum(role.rate_hz * lossless_p95_ms for role in roles) <= 700.0
    assert all(1.0 <= role.rate_hz <= hz for role, hz in zip(roles, (30.0, 25.0, 20.0), strict=True))


def test_a_model_with_a_block_that_cannot_run_is_not_cast() -> None:
    (role,) = cast([{**model("a"), "lossless_p95_ms": None}, model("b")], DEMO[:1])
    assert role.model == "b"


@pytest.mark.parametrize(("wanted", "said"), [(3, "wants model 3; "), ("digit", 'did you mean "digits"?')])
def test_a_model_that_is_not_there_is_named_with_those_that_are(wanted: int | str, said: str) -> None:
    with pytest.raises(SceneFailed, match="the store's usable models are digits, faces") as refused:
        cast([model("faces"), model("digits")], (ClientScript("gate", wanted),))
    assert said in str(refused.value)


def test_numbers_that_are_given_are_taken_as_they_are() -> None:
    (role,) = cast([model("a")], (ClientScript("gate", "a", budget_ms=33.0, rate_hz=7.0, floor=0.5),))
    assert (role.budget_ms, role.rate_hz, role.accuracy_floor, dict(role.exits)) == (33.0, 7.0, 0.5, {})


def test_floors_lie_below_what_the_full_model_reaches() -> None:
    (role,) = cast([model("a")], DEMO[:1])
    assert 0.8 < role.accuracy_floor < 0.95


def test_an_app_whose_model_has_exits_insists_on_the_policy_of_least_loss_that_runs_hard_frames_to_the_end() -> None:
    dear = {"name": "dear", "exits": {"exit1": 0.5, "final": 0.0}, "accuracy_drop": 0.02}
    cheap = {"name": "cheap", "exits": {"exit1": 0.9, "final": 0.0}, "accuracy_drop": 0.004}
    cap = {"name": "cap", "exits": {"exit1": 0.0}, "accuracy_drop": 0.001}
    first, second = cast([model("a", 8.0) | {"policies": [dear, cheap, cap]}, model("b", 8.0)], DEMO[:2])
    assert first.exits == {"exit1": 0.9, "final": 0.0}
    assert second.exits == {}
