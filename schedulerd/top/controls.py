"""What keys do: choose an app, move its budget by steps or type one, leave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from schedulerd.errors import ConfigError
from schedulerd.top.looks import Answer
from schedulerd.typed import parse_duration_ms

STEP: Final = 1.1
"""A key press makes a budget longer by this factor, or shorter."""
LEAST_MS, MOST_MS = 0.001, 60_000.0
"""Of a budget (clients/PROTOCOL.md, `set_budget`)."""
_TYPED: Final = frozenset("0123456789.msu")
_LONGEST: Final = 12


@dataclass(frozen=True, slots=True)
class Edit:
    """A budget that the operator wants."""

    app: str
    budget_ms: float


@dataclass(frozen=True, slots=True)
class Controls:
    """Between two keys."""

    chosen: str | None = None
    """The app that keys are about."""
    typed: str | None = None
    """A budget that is being typed; None while none is."""
    said: str = ""
    """What came of the last edit, or is wrong with what was typed."""
    ended: bool = False


def settled(before: Controls, apps: Sequence[Answer]) -> Controls:
    """With an app chosen that is there: the first, where there is none or the one before has left."""
    names = [str(app.get("app")) for app in apps]
    if before.chosen in names:
        return before
    return replace(before, chosen=names[0] if names else None, typed=None)


def pressed(before: Controls, key: str, apps: Sequence[Answer]) -> tuple[Controls, Edit | None]:
    """After a key (`keys.NAMES`, or a character), and the edit that it asks for."""
    if before.typed is not None:
        return _typed(before, key)
    names = [str(app.get("app")) for app in apps]
    if key in ("q", "interrupt"):
        return replace(before, ended=True), None
    if before.chosen not in names:
        return before, None
    place = names.index(before.chosen)
    if key in ("down", "j"):
        return replace(before, chosen=names[(place + 1) % len(names)], said=""), None
    if key in ("up", "k"):
        return replace(before, chosen=names[place - 1], said=""), None
    if key == "b":
        return replace(before, typed="", said=""), None
    if key in ("+", "right", "-", "left"):
        return before, _moved(apps[place], STEP if key in ("+", "right") else 1 / STEP)
    return before, None


def _moved(app: Answer, factor: float) -> Edit | None:
    budget_ms = app.get("budget_ms")
    if not isinstance(budget_ms, int | float):
        return None
    return Edit(str(app.get("app")), min(MOST_MS, max(LEAST_MS, float(f"{budget_ms * factor:.3g}"))))


def _typed(before: Controls, key: str) -> tuple[Controls, Edit | None]:
    """While a budget is being typed."""
    typed = before.typed or ""
    if key == "interrupt":
        return replace(before, ended=True), None
    if key == "escape":
        return replace(before, typed=None), None
    if key == "backspace":
        return replace(before, typed=typed[:-1]), None
    if key != "enter":
        more = key if len(key) == 1 and key in _TYPED and len(typed) < _LONGEST else ""
        return replace(before, typed=typed + more), None
    if not typed:
        return replace(before, typed=None), None
    try:
        # A number alone is in ms, as everything on the screen.
        budget_ms = parse_duration_ms(typed if typed[-1] in "su" else f"{typed}ms")
    except ConfigError as error:
        return replace(before, typed=None, said=str(error)), None
    return replace(before, typed=None), Edit(str(before.chosen), budget_ms)
