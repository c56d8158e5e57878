"""Budgets, rates and floors of the demo's apps follow from what their models cost on the board."""

from __future__ import annotations

from typing import Any

import pytest

from schedulerd.demo.cast import CAMERA_HZ, HURRIED, cast


def model(name: str, lossless_p95_ms: float = 5.0) -> dict[str, Any]:
    return {"model": name, "lossless_p95_ms": lossless_p95_ms, "accuracy": 0.95}


def test_each_of_three_models_gets_an_app_of_its_own_priority() -> None:
    roles = cast([model("c"), model("a"), model("d"), model("b")])
    assert [role.model for role in roles] == ["a", "b", "c"]
    assert len({role.app for role in roles}) == len({role.priority for role in roles}) == 3


@pytest.mark.parametrize("lossless_p95_ms", [5.0, 200.0])
def test_half_the_budget_of_the_hurried_app_is_hardly_more_than_its_route(lossless_p95_ms: float) -> None:
    hurried, *others = sorted(cast([model(name, lossless_p95_ms) for name in "abc"]), key=lambda r: r.budget_ms)
    assert hurried.app == HURRIED
    assert lossless_p95_ms < hurried.budget_ms / 2 < 1.4 * lossless_p95_ms
    # The others have room for a frame of each app.
    assert all(role.budget_ms > 3 * lossless_p95_ms for role in others)


@pytest.mark.parametrize("lossless_p95_ms", [0.2, 5.0, 200.0])
def test_calm_leaves_the_lane_room(lossless_p95_ms: float) -> None:
    roles = cast([model(name, lossless_p95_ms) for name in "abc"])
    assert sum(role.rate_hz * lossless_p95_ms for role in roles) <= 700.0
    assert all(1.0 <= role.rate_hz <= hz for role, hz in zip(roles, CAMERA_HZ, strict=True))


def test_a_model_with_a_block_that_cannot_run_is_not_cast() -> None:
    assert [role.model for role in cast([{**model("a"), "lossless_p95_ms": None}, model("b")])] == ["b"]


def test_floors_lie_below_what_the_full_model_reaches() -> None:
    (role,) = cast([model("a")])
    assert 0.8 < role.accuracy_floor < 0.95


def test_an_app_whose_model_has_exits_insists_on_the_policy_of_least_loss_that_runs_hard_frames_to_the_end() -> None:
    dear = {"name": "dear", "exits": {"exit1": 0.5, "final": 0.0}, "accuracy_drop": 0.02}
    cheap = {"name": "cheap", "exits": {"exit1": 0.9, "final": 0.0}, "accuracy_drop": 0.004}
    cap = {"name": "cap", "exits": {"exit1": 0.0}, "accuracy_drop": 0.001}
    first, second = cast([model("a", 8.0) | {"policies": [dear, cheap, cap]}, model("b", 8.0)])
    assert first.exits == {"exit1": 0.9, "final": 0.0}
    assert second.exits == {}
