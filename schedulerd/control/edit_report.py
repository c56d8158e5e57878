"""The answers to edits as plain maps (clients/PROTOCOL.md). Pure.

All of it is as the decision saw the board: newer predictions would contradict its sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schedulerd.control.app_edits import AppEdit
from schedulerd.control.overrides import Overrides
from schedulerd.control.report import Now, pins_map
from schedulerd.errors import BadValue
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.serving.apps import LiveApp
from schedulerd.wire.messages import (
    ControlRequest,
    DropOverrides,
    Objective,
    SetBudget,
    SetLimit,
    SetPriority,
)


def is_edit(request: ControlRequest) -> bool:
    """Whether the answer says what the plan that followed does."""
    if isinstance(request, Objective):
        return request.objective is not None
    return isinstance(request, AppEdit | SetLimit | DropOverrides)


def answer(request: ControlRequest, now: Now) -> dict[str, Any]:
    """The result map for one edit, or a question about the objective; `BadValue` for anything else."""
    if isinstance(request, AppEdit):
        return {"app": request.app, **_set(request, now), **_predicted(request.app, now), **_plan(now)}
    if isinstance(request, SetLimit):
        limits, plan = now.limits.limits, now.decision.plan
        return {"memory_limit_bytes": limits.memory_bytes, "memory_bytes": plan.memory_bytes, **_plan(now)}
    if isinstance(request, Objective):
        accuracy = now.decision.plan.weighted_accuracy
        return {
            "objective": now.objective,
            "choices": list(OBJECTIVES),
            "weighted_accuracy": accuracy,
            **_plan(now),
        }
    if isinstance(request, DropOverrides):
        return _plan(now)
    raise BadValue(f"{type(request).__name__} is no edit")


def _plan(now: Now) -> dict[str, Any]:
    decision = now.decision
    return {"plan": decision.plan.number, "sentence": decision.sentence, "apply_ms": decision.apply_ms}


def _set(request: AppEdit, now: Now) -> dict[str, Any]:
    """What is in force now."""
    if isinstance(request, SetBudget):
        return {"budget_ms": request.budget_ms}
    if isinstance(request, SetPriority):
        return {"priority": request.priority}
    app = next((app for app in now.apps if app.spec.app_id == request.app), None)
    if app is None:
        return {"pins": {}, "pinned_exits": None, "unmet_pins": []}
    return pins_map(app, now.catalogue.models[app.spec.model], now.plan)


def _predicted(app_id: str, now: Now) -> dict[str, Any]:
    """What the edit costs, or by how much it cannot be met; nil of an app that has no part in the plan.

    What budget could be met takes further decisions: that is the advisor's to add.
    """
    planned = now.decision.plan.app(app_id)
    return {
        "latency_p95_ms": planned.latency_p95_ms if planned else None,
        "miss_ms": planned.miss_ms if planned else None,
        "nearest_budget_ms": None,
        "accuracy": planned.accuracy if planned else None,
    }


def overrides_map(overrides: Overrides, apps: Sequence[LiveApp]) -> dict[str, Any]:
    """The answer to `overrides`, but for whether they are kept."""
    wishes = {app.spec.app_id: app.wishes for app in apps}
    return {
        "objective": overrides.objective,
        "memory_bytes": overrides.memory_bytes,
        "apps": [
            {
                "app": name,
                "budget_ms": override.budget_ms,
                "registered_budget_ms": wishes[name].budget_ms if name in wishes else None,
                "priority": override.priority,
                "registered_priority": wishes[name].priority if name in wishes else None,
                "pins": dict(override.pins.variants),
                "pinned_exits": dict(override.pins.exits) or None,
            }
            for name, override in overrides.apps.items()
        ],
    }
