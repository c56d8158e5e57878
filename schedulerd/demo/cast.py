"""Who plays: three apps whose budgets and rates follow from what their models cost on this board. Pure.

Fixed numbers would be far too easy on one board and impossible on another; these scale with the profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockstore.exits import FINAL

NAMES = ("gate", "plates", "shelf")
PRIORITIES = (8, 5, 2)
BUDGETS_OVER_LOSSLESS = (4.5, 2.5, 4.5)
"""Budget over the p95 of the quickest route that loses no accuracy: room for frames of more urgent apps in front."""
HURRIED = "plates"
"""Whose budget the operator cuts by half: the most urgent app, so that half of its budget is hardly more than its
route and the one block that it may have to wait for."""
LANE_SHARE = 0.2
"""Share of one lane that each app asks for on that route: 60% in all, so calm is calm."""
CAMERA_HZ = (30.0, 25.0, 20.0)
"""What their cameras give at most. Different rates, so that frames meet in every possible way."""
FLOOR_BELOW_FULL = 0.08
"""How far below the full model's accuracy no app wants to go, whatever its budget."""


@dataclass(frozen=True, slots=True)
class Role:
    """One client of the demo."""

    app: str
    model: str
    budget_ms: float
    rate_hz: float
    priority: int
    accuracy_floor: float
    seed: int
    exits: Mapping[str, float] = field(default_factory=dict)
    """The exit policy that it insists on; empty where its model has none."""


def _early(model: Mapping[str, Any]) -> Mapping[str, float]:
    """The model's policy of least loss that lets easy frames leave and runs hard ones to the end.

    It costs a little accuracy, which the daemon by itself gives up only when something is short: a demo is to show it.
    """
    early = [p for p in model.get("policies", ()) if FINAL in p["exits"]]
    return min(early, key=lambda p: float(p["accuracy_drop"]))["exits"] if early else {}


def cast(models: Sequence[Mapping[str, Any]]) -> tuple[Role, ...]:
    """Roles for the first three models of the daemon's answer to `models`, in order of name."""
    usable = [m for m in models if m["lossless_p95_ms"] is not None]
    chosen = sorted(usable, key=lambda m: str(m["model"]))[: len(NAMES)]
    return tuple(
        Role(
            app=name,
            model=model["model"],
            budget_ms=max(1.0, round(over_lossless * model["lossless_p95_ms"])),
            rate_hz=max(1.0, min(camera_hz, round(LANE_SHARE * 1e3 / model["lossless_p95_ms"]))),
            priority=priority,
            accuracy_floor=round(max(0.0, model["accuracy"] - FLOOR_BELOW_FULL), 2),
            seed=number,
            exits=_early(model),
        )
        for number, (name, priority, over_lossless, camera_hz, model) in enumerate(
            zip(NAMES, PRIORITIES, BUDGETS_OVER_LOSSLESS, CAMERA_HZ, chosen, strict=False)
        )
    )
