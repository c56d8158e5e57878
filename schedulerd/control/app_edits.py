"""What an operator sets for one app: its budget, its priority, and what of its route is held.

It holds for the app's name, whenever an app registers under it, until it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from schedulerd.control import pins
from schedulerd.control.keeper import Keeper
from schedulerd.control.occasions import Cause
from schedulerd.control.planner import Planner
from schedulerd.errors import BadValue
from schedulerd.plan import NO_PINS, App, Pins
from schedulerd.serving.admission import check_budget_ms, check_priority
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.typed import did_you_mean
from schedulerd.wire.messages import Pin, SetBudget, SetPriority, Unpin

log = structlog.get_logger(__name__)

AppEdit = SetBudget | SetPriority | Pin | Unpin


class AppEdits:
    """Each is noted, follows the app at once, and is told."""

    def __init__(
        self,
        registry: Registry,
        planner: Planner,
        keeper: Keeper,
        publish: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        """Args: registry: of the live apps; planner: knows what they run; keeper: of what is set; publish: an event."""
        self._registry = registry
        self._planner = planner
        self._keeper = keeper
        self._publish = publish

    def taken_in(self, request: AppEdit) -> Cause:
        """Why a plan has to be made. Raises `BadValue` or `UnknownApp`, and then nothing is changed."""
        if isinstance(request, SetBudget):
            check_budget_ms(request.budget_ms)
            return self._set(request.app, budget_ms=request.budget_ms)
        if isinstance(request, SetPriority):
            check_priority(request.priority)
            return self._set(request.app, priority=request.priority)
        if isinstance(request, Pin):
            return self._set(request.app, pins=self._pinned(request))
        return self._unpin(request)

    def joined(self, app: LiveApp) -> None:
        """An app has registered: what is set for its name takes the place of what it asks for."""
        self._follow(app)
        for reason in self._unmet(app.spec):
            log.warning("pin_ignored", app=app.spec.app_id, reason=reason)

    def dropped(self, app_id: str) -> str:
        """Nothing is set for a name any more: what that changes, in words."""
        app = self._registry.find(app_id)
        return f"nothing is set for {app_id} any more" if app is None else self._follow(app)

    def _set(self, app_id: str, **values: Any) -> Cause:
        app = self._registry.named(app_id)
        self._keeper.set(self._keeper.overrides.with_app(app_id, **values))
        return Cause(self._follow(app), urgent=True)

    def _pinned(self, request: Pin) -> Pins:
        """What is held from now on."""
        app = self._registry.named(request.app)
        model = self._planner.catalogue.models[app.spec.model]
        if request.blocks:
            more = pins.checked(request.blocks, model)
        else:
            planned = self._planner.plan.app(request.app)
            if planned is None:
                raise BadValue(f"{request.app!r} runs nothing at present; name blocks, as in 0=original")
            more = pins.whole(planned.route, model)
        return pins.joined(self._keeper.overrides.app(request.app).pins, more, model)

    def _unpin(self, request: Unpin) -> Cause:
        """The app need not be there."""
        held = self._keeper.overrides.app(request.app).pins
        if not held:
            self._registry.named(request.app)
            pinned = [name for name, one in self._keeper.overrides.apps.items() if one.pins]
            raise BadValue(
                f"nothing is pinned for {request.app!r}; something is for: {', '.join(pinned) or 'none'}"
                f"{did_you_mean(request.app, pinned)}"
            )
        app, blocks = self._registry.find(request.app), request.blocks
        if app is not None:
            model = self._planner.catalogue.models[app.spec.model]
            blocks = tuple(pins.named(block, model) for block in blocks)
        left = pins.without(held, blocks, request.app) if blocks else NO_PINS
        self._keeper.set(self._keeper.overrides.with_app(request.app, pins=left))
        return Cause(f"{request.app} is free again" if app is None else self._follow(app), urgent=True)

    def _follow(self, app: LiveApp) -> str:
        """The app gets what is set for it; what that changes is told, and returned in words."""
        before = app.spec
        # What its frames take to prepare was measured, and nobody sets it.
        app.spec = now = replace(self._keeper.overrides.of(app.wishes), prepare_ms=before.prepare_ms)
        for kind, body in self._events(before, app):
            self._publish(kind, {"app": now.app_id, **body})
        return ", ".join(_changes(before, now)) or f"what is set for {now.app_id} stays as it is"

    def _events(self, before: App, app: LiveApp) -> Iterator[tuple[str, dict[str, Any]]]:
        now = app.spec
        if now.budget_ms != before.budget_ms:
            yield "budget", {"before_ms": before.budget_ms, "budget_ms": now.budget_ms}
        if now.priority != before.priority:
            yield "priority", {"before": before.priority, "priority": now.priority}
        if now.pins != before.pins:
            held = {"pins": dict(now.pins.variants), "pinned_exits": dict(now.pins.exits) or None}
            yield "pin", {**held, "unmet_pins": self._unmet(now)}

    def _unmet(self, app: App) -> list[str]:
        """What is pinned for the name, and is not of the model that has come with it."""
        return pins.unmet(app.pins, self._planner.catalogue.models[app.model])


def _changes(before: App, now: App) -> Iterator[str]:
    name = now.app_id
    if now.budget_ms != before.budget_ms:
        yield f"budget of {name} {before.budget_ms:g} -> {now.budget_ms:g} ms"
    if now.priority != before.priority:
        yield f"priority of {name} {before.priority} -> {now.priority}"
    held, known = dict(now.pins.variants), dict(before.pins.variants)
    changed = [f"{block}={variant}" for block, variant in held.items() if known.get(block) != variant]
    if changed:
        yield f"{name} is pinned to {_few(changed)}"
    if freed := [block for block in known if block not in held]:
        yield f"{name} is free again at {_few(freed)}"
    if now.pins.exits != before.pins.exits:
        yield f"the exits of {name} are {'pinned' if now.pins.exits else 'free again'}"


def _few(said: Sequence[str]) -> str:
    """Names of blocks are long, and a cause is one line."""
    return ", ".join(said) if len(said) <= _TOLD else f"{', '.join(said[:_TOLD])} and {len(said) - _TOLD} more"


_TOLD: Final = 2
