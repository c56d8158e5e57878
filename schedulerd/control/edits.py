"""What an operator changes: checked, noted where the next plan finds it, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from schedulerd.control.app_edits import AppEdit, AppEdits
from schedulerd.control.checks import check_memory_bytes, check_objective
from schedulerd.control.keeper import Keeper
from schedulerd.control.occasions import Cause
from schedulerd.control.planner import Planner
from schedulerd.errors import BadValue
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.sizes import size_text
from schedulerd.typed import did_you_mean
from schedulerd.wire.messages import ControlRequest, DropOverrides, Objective, SetLimit


class Edits:
    """Takes edits in; they take effect with the next plan, and hold until they are dropped."""

    def __init__(
        self,
        registry: Registry,
        planner: Planner,
        keeper: Keeper,
        publish: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        """What was kept is in force.

        Args: registry: of the live apps; planner; keeper: of what is set; publish: sends an event of a kind with its
        body.
        """
        self._apps = AppEdits(registry, planner, keeper, publish)
        self._planner = planner
        self._keeper = keeper
        self._publish = publish
        planner.operator_objective = keeper.overrides.objective
        planner.operator_memory_bytes = keeper.overrides.memory_bytes

    def taken_in(self, request: ControlRequest) -> Cause | None:
        """Why a plan has to be made; None for a request that changes nothing. Raises `BadValue` or `UnknownApp`."""
        if isinstance(request, AppEdit):
            return self._apps.taken_in(request)
        if isinstance(request, SetLimit):
            return self._set_limit(request)
        if isinstance(request, Objective) and request.objective is not None:
            return self._set_objective(request.objective)
        if isinstance(request, DropOverrides):
            return self._drop_all() if request.app is None else self._drop(request.app)
        return None

    def joined(self, app: LiveApp) -> None:
        """An app has registered: what operators have set for its name takes the place of what it asks for."""
        self._apps.joined(app)

    def _set_limit(self, request: SetLimit) -> Cause:
        if request.what != "memory":
            raise BadValue(f"limit {request.what!r} is unknown; the limit that can be set is 'memory'")
        if request.value_bytes is not None:
            check_memory_bytes(request.value_bytes)
        return Cause(self._use_memory(request.value_bytes), urgent=True)

    def _set_objective(self, objective: str) -> Cause:
        check_objective(objective)
        return Cause(self._use_objective(objective), urgent=True)

    # What is in force, with the sentence for it.

    def _use_memory(self, memory_bytes: int | None) -> str:
        self._keeper.set(replace(self._keeper.overrides, memory_bytes=memory_bytes))
        self._planner.operator_memory_bytes = memory_bytes
        self._publish("limit", {"what": "memory", "value_bytes": memory_bytes})
        return f"memory limit set to {'auto' if memory_bytes is None else size_text(memory_bytes)}"

    def _use_objective(self, objective: str | None) -> str:
        self._keeper.set(replace(self._keeper.overrides, objective=objective))
        before, self._planner.operator_objective = self._planner.objective, objective
        now = self._planner.objective
        self._publish("objective", {"before": before, "objective": now})
        return f"objective {before} -> {now}"

    # Dropping.

    def _drop(self, app_id: str) -> Cause:
        overrides = self._keeper.overrides
        if app_id not in overrides.apps:
            nearest = did_you_mean(app_id, overrides.apps) or f"; there are: {', '.join(overrides.apps) or 'none'}"
            raise BadValue(f"nothing was set for {app_id!r}{nearest}")
        self._keeper.set(overrides.without_app(app_id))
        return Cause(self._apps.dropped(app_id), urgent=True)

    def _drop_all(self) -> Cause:
        before = self._keeper.overrides
        said = [self._use_objective(None)] if before.objective is not None else []
        said += [self._use_memory(None)] if before.memory_bytes is not None else []
        self._keeper.set(replace(self._keeper.overrides, apps={}))
        said += [self._apps.dropped(app_id) for app_id in before.apps]
        return Cause(", ".join(said) or "nothing was set", urgent=True)
