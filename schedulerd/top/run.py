"""Asks the daemon now and then, draws what it says, and passes on what keys ask for."""

from __future__ import annotations

import io
import itertools
import json
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from schedulerd import present
from schedulerd.top.controls import Controls, Edit, pressed, settled
from schedulerd.top.keys import Keys
from schedulerd.top.looks import KEPT, History, Look
from schedulerd.top.view import absent, screen
from schedulerd_client import Refusal, TransportError

_PICTURE_COLUMNS = 150
_PLAN_LOOKS = 4
"""After so many looks a plan that stands is asked for again: the board has moved its figures."""


class Asked(Protocol):
    """What the view needs of `schedulerd_client.ControlClient`."""

    def status(self) -> Mapping[str, Any]:
        """How the daemon and its board are."""
        ...

    def apps(self) -> Mapping[str, Any]:
        """`apps`: every app."""
        ...

    def plan(self) -> Mapping[str, Any]:
        """The plan in force."""
        ...

    def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
        """Change one app's budget."""
        ...


def looked(control: Asked, before: Look | None = None) -> Look:
    """The daemon's answers now; of the plan, the one before while it stands, for it says much and changes seldom."""
    status, apps = control.status(), tuple(control.apps().get("apps") or ())
    if before is None or before.plan_looks >= _PLAN_LOOKS or before.plan.get("number") != status.get("plan"):
        return Look(status, apps, control.plan())
    return Look(status, apps, before.plan, before.plan_looks + 1)


def as_lines(control: Asked, every_s: float, looks: int | None) -> None:
    """Print a line of JSON for every look; `looks` None goes on until interrupted."""
    for number in _counted(looks):
        if number:
            time.sleep(every_s)
        look = looked(control)
        document = {"status": dict(look.status), "apps": [dict(app) for app in look.apps], "plan": dict(look.plan)}
        print(json.dumps(document), flush=True)


def as_pages(control: Asked, every_s: float, looks: int | None, console: Console) -> None:
    """Print a screen for every look, one below the other: for a pipe, which has no keys."""
    history = History()
    for number in _counted(looks):
        if number:
            time.sleep(every_s)
        look = looked(control)
        history = history.after(look)
        console.print(screen(look, history, Controls(), console.width))


def as_picture(control: Asked, every_s: float, looks: int, file: Path) -> None:
    """The screen after so many looks as an SVG file: for a report, or the documentation."""
    history = History()
    for number in range(looks):
        if number:
            time.sleep(every_s)
        look = looked(control)
        history = history.after(look)
    console = Console(file=io.StringIO(), record=True, force_terminal=True, width=_PICTURE_COLUMNS)
    console.print(screen(look, history, settled(Controls(), look.apps), _PICTURE_COLUMNS))
    file.write_text(console.export_svg(title="schedctl top"))


def live(control: Asked, every_s: float, looks: int | None, console: Console, terminal: int) -> None:
    """Draw in place until a key leaves, or after so many looks.

    The first look raises what keeps the daemon from answering; later that is shown, and the daemon asked again.
    """
    look: Look | str = looked(control)
    known: Look | None = None
    history, controls = History(), Controls()
    with Keys(terminal) as keys, Live(console=console, screen=True, auto_refresh=False) as view:
        for number in _counted(looks):
            if number:
                look = _looked_again(control, known)
            known = look if isinstance(look, Look) else None
            if known is not None:
                history, controls = history.after(known), settled(controls, known.apps)
            controls = _until_next(control, look, history, controls, keys, view, every_s)
            if controls.ended:
                return


def _until_next(
    control: Asked, look: Look | str, history: History, controls: Controls, keys: Keys, view: Live, every_s: float
) -> Controls:
    """Draw, obey keys until the time for the next look has come; an edit makes it come at once, to show its effect."""
    until_s = time.monotonic() + every_s
    apps = look.apps if isinstance(look, Look) else ()
    drawn: Controls | None = None
    while True:
        if controls != drawn:
            shown = absent(look) if isinstance(look, str) else screen(look, history, controls, view.console.width)
            view.update(shown, refresh=True)
            drawn = controls
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return controls
        edit = None
        for key in keys.read(left_s):
            controls, wanted = pressed(controls, key, apps)
            edit = wanted or edit
            if controls.ended:
                return controls
        if edit is not None:
            return replace(controls, said=_edited(control, edit))


def _looked_again(control: Asked, before: Look | None) -> Look | str:
    try:
        return looked(control, before)
    except (TransportError, Refusal) as error:
        return str(error)


def _edited(control: Asked, edit: Edit) -> str:
    """What came of an edit, in one line; the next look comes at once and shows it."""
    try:
        return present.budget(control.set_budget(edit.app, edit.budget_ms)).replace("\n", "; ")
    except (TransportError, Refusal) as error:
        return str(error)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _counted(looks: int | None) -> Iterable[int]:
    """Numbers of looks from 0."""
    return range(looks) if looks is not None else itertools.count()


def main(control: Asked, every_s: float, looks: int | None, *, as_json: bool, picture: Path | None = None) -> None:
    """On the standard streams: live on a terminal, pages or JSON elsewhere; or into a file."""
    if picture is not None:
        as_picture(control, every_s, looks or KEPT, picture)
        return
    if as_json:
        as_lines(control, every_s, looks)
        return
    console = Console()
    if sys.stdin.isatty() and console.is_terminal:
        # The terminal is to be as before, however this ends.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        live(control, every_s, looks, console, sys.stdin.fileno())
    else:
        as_pages(control, every_s, looks, console)
