"""What an operator changes: checked, noted where the next plan finds it, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from schedulerd.control.occasions import Cause
from schedulerd.control.planner import Planner
from schedulerd.errors import BadValue
from schedulerd.kinds import did_you_mean
from schedulerd.optimizer.problem import OBJECTIVES
from schedulerd.serving.admission import check_budget_ms
from schedulerd.serving.apps import Registry
from schedulerd.sizes import size_text
from schedulerd.wire.messages import ControlRequest, Objective, SetBudget, SetLimit


class Edits:
    """Takes edits in; they take effect with the next plan."""

    def __init__(self, registry: Registry, planner: Planner, publish: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Args: registry: of the live apps; planner; publish: sends an event of a kind with its body."""
        self._registry = registry
        self._planner = planner
        self._publish = publish

    def taken_in(self, request: ControlRequest) -> Cause | None:
        """Why a plan has to be made; None for a request that changes nothing. Raises `BadValue` or `UnknownApp`."""
        if isinstance(request, SetBudget):
            return self._set_budget(request)
        if isinstance(request, SetLimit):
            return self._set_limit(request)
        if isinstance(request, Objective) and request.objective is not None:
            return self._set_objective(request.objective)
        return None

    def _set_budget(self, request: SetBudget) -> Cause:
        check_budget_ms(request.budget_ms)
        app = self._registry.named(request.app)
        before_ms = app.spec.budget_ms
        app.spec = replace(app.spec, budget_ms=request.budget_ms)
        self._publish("budget", {"app": request.app, "before_ms": before_ms, "budget_ms": request.budget_ms})
        return Cause(f"budget of {request.app} {before_ms:g} -> {request.budget_ms:g} ms", urgent=True)

    def _set_limit(self, request: SetLimit) -> Cause:
        if request.what != "memory":
            raise BadValue(f"limit {request.what!r} is unknown; the limit that can be set is 'memory'")
        if request.value_bytes is not None:
            check_memory_bytes(request.value_bytes)
        self._planner.operator_memory_bytes = request.value_bytes
        self._publish("limit", {"what": "memory", "value_bytes": request.value_bytes})
        shown = "auto" if request.value_bytes is None else size_text(request.value_bytes)
        return Cause(f"memory limit set to {shown}", urgent=True)

    def _set_objective(self, objective: str) -> Cause:
        check_objective(objective)
        before, self._planner.objective = self._planner.objective, objective
        self._publish("objective", {"before": before, "objective": objective})
        return Cause(f"objective {before} -> {objective}", urgent=True)


def check_memory_bytes(memory_bytes: int) -> None:
    """`BadValue` unless above 0."""
    if memory_bytes <= 0:
        raise BadValue(f"memory limit is {memory_bytes} bytes; give more than 0, or `auto`")


def check_objective(objective: str) -> None:
    """`BadValue` with the nearest name unless there is such an objective."""
    if objective not in OBJECTIVES:
        nearest = did_you_mean(objective, OBJECTIVES)
        raise BadValue(f"objective is {objective!r}; it must be one of {', '.join(OBJECTIVES)}{nearest}")
