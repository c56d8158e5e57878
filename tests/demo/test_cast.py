"""Budgets, rates and floors of the demo's apps follow from what their models cost on the board."""

from __future__ import annotations

from typing import Any

import pytest

from schedulerd.demo.cast import CAMERA_HZ, cast


def model(name: str, lossless_p95_ms: float = 5.0) -> dict[str, Any]:
    return {"model": name, "lossless_p95_ms": lossless_p95_ms, "accuracy": 0.95, "least_memory_bytes": 1000}


def test_each_of_three_models_gets_an_app_of_its_own_priority() -> None:
    roles = cast([model("c"), model("a"), model("d"), model("b")])
    assert [role.model for role in roles] == ["a", "b", "c"]
    assert len({role.app for role in roles}) == len({role.priority for role in roles}) == 3


@pytest.mark.parametrize("lossless_p95_ms", [0.2, 5.0, 200.0])
def test_half_a_budget_is_hardly_more_than_the_lossless_route(lossless_p95_ms: float) -> None:
    (role,) = cast([model("a", lossless_p95_ms)])
    assert role.budget_ms >= 1.0
    assert role.budget_ms / 2 == pytest.approx(1.1 * lossless_p95_ms, abs=0.5)


@pytest.mark.parametrize("lossless_p95_ms", [0.2, 5.0, 200.0])
def test_calm_leaves_the_lane_room(lossless_p95_ms: float) -> None:
    roles = cast([model(name, lossless_p95_ms) for name in "abc"])
    assert sum(role.rate_hz * lossless_p95_ms for role in roles) <= 700.0
    assert all(1.0 <= role.rate_hz <= hz for role, hz in zip(roles, CAMERA_HZ, strict=True))


def test_floors_lie_below_what_the_full_model_reaches() -> None:
    (role,) = cast([model("a")])
    assert 0.8 < role.accuracy_floor < 0.95
