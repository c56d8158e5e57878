"""`schedctl`: ask a running daemon how things are and why, move budgets and limits, listen to events.

Exit codes: 0 done, 1 the daemon refused (the message says why), 2 wrong usage, 3 no daemon or no answer, 4 done as
far as it can be without a restart (`reload`), 130 interrupted. With `--json` an answer is printed as it came over the
wire (clients/PROTOCOL.md), an event as one line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from schedulerd import __version__, present, present_advice, present_operator
from schedulerd.cells import plain
from schedulerd.ctl_arguments import Parser, addition, budget_of, checked, count, seconds, size
from schedulerd.kinds import did_you_mean, parse_duration_ms, parse_size
from schedulerd.optimizer.problem import OBJECTIVES
from schedulerd_client import (
    EVENT_KINDS,
    Addition,
    ControlClient,
    Event,
    Refusal,
    TransportError,
    UnknownApp,
    Unreachable,
)

DONE, REFUSED, USAGE, UNANSWERED, RESTART, INTERRUPTED = 0, 1, 2, 3, 4, 130
ALL = "all"
SHORT_S, LONG_S = 5.0, 65.0
"""What to wait for an answer; the longer one where the daemon may have to decide many times for it."""


class Events(AbstractContextManager[Any], Iterator[Event], Protocol):
    """A stream of events that is closed afterwards."""


class Control(AbstractContextManager[Any], Protocol):
    """What this program needs of `schedulerd_client.ControlClient`."""

    def status(self) -> Mapping[str, Any]:
        """How the daemon and its board are."""
        ...

    def apps(self) -> Mapping[str, Any]:
        """`apps`: every app."""
        ...

    def plan(self) -> Mapping[str, Any]:
        """The plan in force."""
        ...

    def models(self) -> Mapping[str, Any]:
        """`models`: what the store holds."""
        ...

    def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
        """Change one app's budget."""
        ...

    def set_limit(self, what: str, value_bytes: int | None) -> Mapping[str, Any]:
        """Change a limit of all apps."""
        ...

    def why(self, app: str) -> Mapping[str, Any]:
        """Why an app runs what it runs."""
        ...

    def whatif(
        self,
        budgets_ms: Mapping[str, float],
        memory_bytes: int | None,
        add: Sequence[Addition],
        objective: str | None,
    ) -> Mapping[str, Any]:
        """What such edits would lead to."""
        ...

    def objective(self, name: str | None) -> Mapping[str, Any]:
        """Change the objective; None asks for it."""
        ...

    def reload(self) -> Mapping[str, Any]:
        """Have the configuration read again."""
        ...

    def overrides(self) -> Mapping[str, Any]:
        """What operators have set."""
        ...

    def drop_overrides(self, app: str | None) -> Mapping[str, Any]:
        """Go back to what an app registered with; None drops everything."""
        ...

    def events(self, kinds: Sequence[str], timeout_s: float | None) -> Events:
        """What happens from now on; ends after `timeout_s` without an event."""
        ...


Connect = Callable[[Path | None, float], Control]
Command = Callable[[Control, argparse.Namespace], int | None]
"""Returns an exit code other than 0 where it wants one."""


def _to_the_daemon(runtime: Path | None, timeout_s: float) -> Control:
    return ControlClient(runtime, timeout_s=timeout_s)


def main(arguments: Sequence[str] | None = None, connect: Connect = _to_the_daemon) -> int:
    """Run one sub-command and return the exit code; `connect` opens the control socket of a runtime directory."""
    args = _parser().parse_args(arguments)
    if args.command is _whatif and not (args.budget or args.memory is not None or args.add or args.objective):
        return _fail("whatif: nothing would be different; give --budget, --memory, --add or --objective", USAGE)
    try:
        connection = connect(getattr(args, "runtime", None), getattr(args, "timeout", _patience_s(args.command)))
    except ValueError as error:  # a runtime directory that cannot be one
        return _fail(str(error), USAGE)
    command: Command = args.command
    try:
        with connection as control:
            return command(control, args) or DONE
    except Refusal as error:
        return _fail(f"{error} ({error.code})", REFUSED)
    except Unreachable as error:
        return _fail(f"{error} (--runtime DIR)", UNANSWERED)
    except TransportError as error:
        return _fail(str(error), UNANSWERED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `schedctl apps | head`: the reader has left; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _patience_s(command: Command) -> float:
    """A daemon that works out an answer gives up a little earlier, and its refusal is to be heard."""
    return LONG_S if command in (_why, _whatif, _budget, _reload) else SHORT_S


def _fail(message: str, code: int) -> int:
    print(f"schedctl: {plain(message)}", file=sys.stderr)
    return code


# Commands.


def _status(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.status(), present.status)


def _apps(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.apps(), present.apps)


def _plan(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.plan(), present.plan)


def _models(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.models(), present.models)


def _budget(control: Control, args: argparse.Namespace) -> None:
    answer = _about([args.app], control, lambda: control.set_budget(args.app, args.budget))
    _show(args, answer, present.budget)


def _limit(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.set_limit(args.what, args.value), present.limit)


def _why(control: Control, args: argparse.Namespace) -> None:
    _show(args, _about([args.app], control, lambda: control.why(args.app)), present_advice.why)


def _whatif(control: Control, args: argparse.Namespace) -> None:
    budgets_ms = dict(args.budget)
    answer = _about(budgets_ms, control, lambda: control.whatif(budgets_ms, args.memory, args.add, args.objective))
    _show(args, answer, present_advice.whatif)


def _objective(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.objective(args.name), present.objective if args.name else present.objectives)


def _reload(control: Control, args: argparse.Namespace) -> int:
    answer = control.reload()
    _show(args, answer, present_operator.reload)
    return RESTART if answer.get("restart") else DONE


def _overrides(control: Control, args: argparse.Namespace) -> None:
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


def _events(control: Control, args: argparse.Namespace) -> None:
    """The next event within the time-out, or all events until interrupted."""
    timeout_s = None if args.follow else getattr(args, "timeout", SHORT_S)
    with control.events(args.kind or EVENT_KINDS, timeout_s) as events:
        for event in events:
            _show_event(args, event)
            if not args.follow:
                return


def _top(control: Control, args: argparse.Namespace) -> None:
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


# Arguments.


_TIMEOUT_HELP = f"seconds to wait for an answer ({SHORT_S:g}; budget, why, whatif and reload: {LONG_S:g})"


def _parser() -> argparse.ArgumentParser:
    # Accepted before and after the sub-command; without SUPPRESS the later parser would undo the earlier one.
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--runtime", type=Path, metavar="DIR", help="the daemon's runtime directory")
    common.add_argument("--timeout", type=seconds, metavar="S", help=_TIMEOUT_HELP)

    parser = Parser(prog="schedctl", description=(__doc__ or "").split("\n\n")[0], parents=[common])
    parser.epilog = (
        "exit codes: 0 done, 1 refused, 2 wrong usage, 3 no daemon or no answer, 4 a restart is needed, 130 interrupted"
    )
    parser.add_argument("--version", action="version", version=f"schedctl {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Command, help_: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=help_, description=help_, parents=[common])
        sub.set_defaults(command=command)
        return sub

    add("status", _status, "how the daemon and its board are")
    add("apps", _apps, "every app: budget, route, predicted and measured latency, accuracy")
    add("plan", _plan, "the plan in force, why it was made, and which limits bind")
    add("models", _models, "the models in the store")
    budget = add("budget", _budget, "change an app's latency budget")
    budget.add_argument("app", metavar="APP")
    budget.add_argument("budget", type=checked(parse_duration_ms), metavar="DURATION", help="such as 25ms or 0.5s")
    limit = add("limit", _limit, "change what all apps together may use")
    limit.add_argument("what", choices=("memory",))
    limit.add_argument("value", type=checked(size), metavar="SIZE", help='such as 80MB; "auto" as configured')
    add("why", _why, "why an app runs what it runs, and what more of a limit would buy").add_argument(
        "app", metavar="APP"
    )
    whatif = add("whatif", _whatif, "the plan that edits would lead to, beside the present one; nothing is changed")
    whatif.add_argument("--budget", type=checked(budget_of), action="append", default=[], metavar="APP=DURATION")
    whatif.add_argument("--memory", type=checked(parse_size), metavar="SIZE", help="the limit, such as 300MB")
    whatif.add_argument("--add", type=checked(addition), action="append", default=[], metavar="MODEL:BUDGET:RATE")
    whatif.add_argument("--objective", choices=OBJECTIVES)
    whatif.epilog = "such as: schedctl whatif --budget cam1=20ms --memory 300MB --add digits-residual:50ms:15Hz"
    objective = add("objective", _objective, "what is best among the plans that keep the limits; with NAME change it")
    objective.add_argument("name", nargs="?", choices=OBJECTIVES, metavar="NAME", help=", ".join(OBJECTIVES))
    top = add("top", _top, "a live view, with keys to move budgets; in a pipe a page for every look")
    top.add_argument("--interval", type=seconds, default=0.5, metavar="S", help="seconds between two looks (0.5)")
    top.add_argument("--looks", type=count, metavar="N", help="leave after so many; else it goes on until q")
    top.add_argument("--picture", type=Path, metavar="FILE", help="write the screen after those looks (30) as SVG")
    overrides = add("overrides", _overrides, "what operators have set, which holds over restarts; with drop: no longer")
    overrides.add_argument("drop", nargs="?", choices=("drop",), help="go back to what apps and configuration ask for")
    overrides.add_argument("app", nargs="?", metavar="APP", default=ALL, help=f'"{ALL}" (the default) drops everything')
    add("reload", _reload, "have the daemon read its configuration again: what was applied, and what needs a restart")
    events = add("events", _events, "the next event; with --follow all of them")
    events.add_argument("--follow", action="store_true", help="go on until interrupted")
    events.add_argument("--kind", action="append", choices=EVENT_KINDS, help="only this kind; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
