"""`schedctl`: ask a running daemon how things are, move budgets and limits, listen to events.

Exit codes: 0 done, 1 the daemon refused (the message says why), 2 wrong usage, 3 no daemon or no answer, 130
interrupted. With `--json` an answer is printed as it came over the wire (clients/PROTOCOL.md), an event as one line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from schedulerd import __version__, present
from schedulerd.errors import ConfigError
from schedulerd.kinds import did_you_mean, parse_duration_ms, parse_size
from schedulerd_client import EVENT_KINDS, ControlClient, Event, Refusal, TransportError, UnknownApp, Unreachable

DONE, REFUSED, USAGE, UNANSWERED, INTERRUPTED = 0, 1, 2, 3, 130


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

    def events(self, kinds: Sequence[str], timeout_s: float | None) -> Events:
        """What happens from now on; ends after `timeout_s` without an event."""
        ...


Connect = Callable[[Path | None, float], Control]
Command = Callable[[Control, argparse.Namespace], None]


def _to_the_daemon(runtime: Path | None, timeout_s: float) -> Control:
    return ControlClient(runtime, timeout_s=timeout_s)


def main(arguments: Sequence[str] | None = None, connect: Connect = _to_the_daemon) -> int:
    """Run one sub-command and return the exit code; `connect` opens the control socket of a runtime directory."""
    args = _parser().parse_args(arguments)
    try:
        connection = connect(getattr(args, "runtime", None), getattr(args, "timeout", 5.0))
    except ValueError as error:  # a runtime directory that cannot be one
        return _fail(str(error), USAGE)
    command: Command = args.command
    try:
        with connection as control:
            command(control, args)
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


def _fail(message: str, code: int) -> int:
    print(f"schedctl: {present.plain(message)}", file=sys.stderr)
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
    try:
        answer = control.set_budget(args.app, args.budget)
    except UnknownApp as error:
        live = [str(row.get("app")) for row in control.apps().get("apps") or []]
        raise UnknownApp(f"{error}{did_you_mean(args.app, live)}", error.code) from error
    _show(args, answer, present.budget)


def _limit(control: Control, args: argparse.Namespace) -> None:
    _show(args, control.set_limit(args.what, args.value), present.limit)


def _events(control: Control, args: argparse.Namespace) -> None:
    """The next event within the time-out, or all events until interrupted."""
    timeout_s = None if args.follow else getattr(args, "timeout", 5.0)
    with control.events(args.kind or EVENT_KINDS, timeout_s) as events:
        for event in events:
            _show_event(args, event)
            if not args.follow:
                return


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


class _Parser(argparse.ArgumentParser):
    """Names the nearest choice when a word is mistyped."""

    def error(self, message: str) -> NoReturn:
        mistyped = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if mistyped:
            message += did_you_mean(mistyped[1], re.findall(r"\w+", mistyped[2]))
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    # Accepted before and after the sub-command; without SUPPRESS the later parser would undo the earlier one.
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--runtime", type=Path, metavar="DIR", help="the daemon's runtime directory")
    common.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait for an answer (5)")

    parser = _Parser(prog="schedctl", description=(__doc__ or "").split("\n\n")[0], parents=[common])
    parser.epilog = "exit codes: 0 done, 1 refused, 2 wrong usage, 3 no daemon or no answer, 130 interrupted"
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
    budget.add_argument("budget", type=_checked(parse_duration_ms), metavar="DURATION", help="such as 25ms or 0.5s")
    limit = add("limit", _limit, "change what all apps together may use")
    limit.add_argument("what", choices=("memory",))
    limit.add_argument("value", type=_checked(_size), metavar="SIZE", help='such as 80MB; "auto" as configured')
    events = add("events", _events, "the next event; with --follow all of them")
    events.add_argument("--follow", action="store_true", help="go on until interrupted")
    events.add_argument("--kind", action="append", choices=EVENT_KINDS, help="only this kind; may be repeated")
    return parser


def _size(text: str) -> int | None:
    return None if text == "auto" else parse_size(text)


def _seconds(text: str) -> float:
    try:
        return parse_duration_ms(text + "s") / 1e3
    except ConfigError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0") from None


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser whose refusal argparse shows in full."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


if __name__ == "__main__":
    sys.exit(main())
