"""The commands of `schedctl`: each asks the daemon, and prints the answer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from schedulerd import present, present_operator
from schedulerd.ctl_control import Control
from schedulerd.typed import did_you_mean
from schedulerd_client import EVENT_KINDS, Event, UnknownApp

DONE, IN_PART = 0, 4
ALL = "all"
SHORT_S, LONG_S = 5.0, 65.0
"""What to wait for an answer; the longer one where the daemon may have to decide many times for it."""


def status(control: Control, args: argparse.Namespace) -> None:
    """How the daemon and its board are."""
    _show(args, control.status(), present.status)


def apps(control: Control, args: argparse.Namespace) -> None:
    """Every app."""
    _show(args, control.apps(), present.apps)


def plan(control: Control, args: argparse.Namespace) -> None:
    """The plan in force."""
    _show(args, control.plan(), present.plan)


def models(control: Control, args: argparse.Namespace) -> None:
    """What the store holds."""
    _show(args, control.models(), present.models)


def budget(control: Control, args: argparse.Namespace) -> None:
    """Change an app's budget."""
    answer = _about([args.app], control, lambda: control.set_budget(args.app, args.budget))
    _show(args, answer, present.budget)


def priority(control: Control, args: argparse.Namespace) -> None:
    """Change an app's priority."""
    answer = _about([args.app], control, lambda: control.set_priority(args.app, args.priority))
    _show(args, answer, present_operator.priority)


def pin(control: Control, args: argparse.Namespace) -> None:
    """Hold what an app runs."""
    answer = _about([args.app], control, lambda: control.pin(args.app, dict(args.blocks)))
    _show(args, answer, present_operator.pins)


def unpin(control: Control, args: argparse.Namespace) -> None:
    """Hold it no longer."""
    answer = _about([args.app], control, lambda: control.unpin(args.app, args.blocks))
    _show(args, answer, present_operator.pins)


def drain(control: Control, args: argparse.Namespace) -> int:
    """Give an app no new work."""
    answer = _about([args.app] if args.app else [], control, lambda: control.drain(args.app))
    _show(args, answer, present_operator.drained)
    return IN_PART if answer.get("in_flight") else DONE


def resume(control: Control, args: argparse.Namespace) -> None:
    """Let a drained app go on."""
    _show(args, control.resume(args.app), present_operator.resumed)


def limit(control: Control, args: argparse.Namespace) -> None:
    """Change a limit of all apps."""
    _show(args, control.set_limit(args.what, args.value), present.limit)


def why(control: Control, args: argparse.Namespace) -> None:
    """Why an app runs what it runs."""
    from schedulerd import present_advice  # here, for the reason that `top` gives

    _show(args, _about([args.app], control, lambda: control.why(args.app)), present_advice.why)


def whatif(control: Control, args: argparse.Namespace) -> None:
    """What edits would lead to."""
    from schedulerd import present_advice

    budgets_ms = dict(args.budget)
    answer = _about(budgets_ms, control, lambda: control.whatif(budgets_ms, args.memory, args.add, args.objective))
    _show(args, answer, present_advice.whatif)


def objective(control: Control, args: argparse.Namespace) -> None:
    """What is best; or change it."""
    _show(args, control.objective(args.name), present.objective if args.name else present.objectives)


def log_level(control: Control, args: argparse.Namespace) -> None:
    """Which events are logged."""
    _show(args, control.log_level(args.level), present_operator.log_level)


def reload(control: Control, args: argparse.Namespace) -> int:
    """Have the configuration read again."""
    answer = control.reload()
    _show(args, answer, present_operator.reload)
    return IN_PART if answer.get("restart") else DONE


def overrides(control: Control, args: argparse.Namespace) -> None:
    """What operators have set; or drop it."""
    if args.drop:
        app = None if args.app == ALL else args.app
        _show(args, control.drop_overrides(app), present_operator.dropped)
    else:
        _show(args, control.overrides(), present_operator.overrides)


def _about(apps: Iterable[str], control: Control, ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """The answer to a question about `apps`; one that there is not is refused with the nearest name."""
    try:
        return ask()
    except UnknownApp as error:
        live = [str(row.get("app")) for row in control.apps().get("apps") or []]
        absent = next((app for app in apps if app not in live), "")
        raise UnknownApp(f"{error}{did_you_mean(absent, live)}", error.code) from error


def events(control: Control, args: argparse.Namespace) -> None:
    """The next event within the time-out, or all events until interrupted."""
    timeout_s = None if args.follow else getattr(args, "timeout", SHORT_S)
    with control.events(args.kind or EVENT_KINDS, timeout_s) as stream:
        for event in stream:
            _show_event(args, event)
            if not args.follow:
                return


def top(control: Control, args: argparse.Namespace) -> None:
    """The live view."""
    # Here, because the other commands are to answer before what draws on a terminal has been imported.
    from schedulerd.top.run import main as show

    show(control, args.interval, args.looks, as_json=_as_json(args), picture=args.picture)


def _show(args: argparse.Namespace, answer: Mapping[str, Any], words: Callable[[Mapping[str, Any]], str]) -> None:
    print(json.dumps(answer, indent=2) if _as_json(args) else words(answer))


def _show_event(args: argparse.Namespace, event: Event) -> None:
    """One line, flushed, so that a pipe sees an event when it happens."""
    whole = {"kind": event.kind, "seq": event.seq, "at": event.at, "body": dict(event.body)}
    line = json.dumps(whole) if _as_json(args) else present.event(event.kind, event.at, event.body)
    print(line, flush=True)


def _as_json(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "json", False))
