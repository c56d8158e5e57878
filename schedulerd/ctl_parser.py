"""The command line of `schedctl`: its commands, and what each takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from schedulerd import __version__, ctl_commands, ctl_remote
from schedulerd.completion import HELP, SHELLS, script
from schedulerd.ctl_arguments import Parser, addition, budget_of, checked, count, pin_of, seconds, size
from schedulerd.ctl_commands import ALL, LONG_S, SHORT_S
from schedulerd.ctl_control import Alone, Command
from schedulerd.log_levels import LOG_LEVELS
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.typed import parse_duration_ms, parse_size
from schedulerd.wire.messages import MAX_PRIORITY, MIN_PRIORITY
from schedulerd_client import EVENT_KINDS

_TIMEOUT_HELP = f"seconds to wait for an answer ({SHORT_S:g}; edits of apps, why, whatif, reload: {LONG_S:g})"
_BLOCK_HELP = "a block by its name in `plan`, or by its number from 0"


def make_parser(description: str) -> argparse.ArgumentParser:
    """Arguments become a namespace with `command` and what the command takes."""
    # Accepted before and after the sub-command; without SUPPRESS the later parser would undo the earlier one.
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--runtime", type=Path, metavar="DIR", help="the daemon's runtime directory")
    common.add_argument("--timeout", type=seconds, metavar="S", help=_TIMEOUT_HELP)
    ctl_remote.add_options(common)

    parser = Parser(prog="schedctl", description=description, parents=[common])
    parser.epilog = (
        "exit codes: 0 done, 1 refused, 2 wrong usage, 3 no daemon or no answer, 4 done in part (reload: the rest "
        "takes a restart; drain: requests are in flight), 130 interrupted"
    )
    parser.add_argument("--version", action="version", version=f"schedctl {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Command, help_: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=help_, description=help_, parents=[common])
        sub.set_defaults(command=command)
        return sub

    def add_alone(name: str, said: Alone, help_: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=help_, description=help_)
        sub.set_defaults(alone=said)
        return sub

    add("status", ctl_commands.status, "how the daemon and its board are")
    add("apps", ctl_commands.apps, "every app: budget, route, predicted and measured latency, accuracy")
    add("plan", ctl_commands.plan, "the plan in force, why it was made, and which limits bind")
    add("models", ctl_commands.models, "the models in the store")
    budget = add("budget", ctl_commands.budget, "change an app's latency budget")
    budget.add_argument("app", metavar="APP")
    budget.add_argument("budget", type=checked(parse_duration_ms), metavar="DURATION", help="such as 25ms or 0.5s")
    priority = add("priority", ctl_commands.priority, "change who gives way last where not all budgets can be met")
    priority.add_argument("app", metavar="APP")
    priority.add_argument("priority", type=int, metavar="N", help=f"{MIN_PRIORITY} (least) to {MAX_PRIORITY} (most)")
    pin = add("pin", ctl_commands.pin, "hold variants of an app's blocks, or the whole route that it runs now")
    pin.add_argument("app", metavar="APP")
    pin.add_argument("blocks", nargs="*", type=checked(pin_of), metavar="BLOCK=VARIANT", help=_BLOCK_HELP)
    unpin = add("unpin", ctl_commands.unpin, "leave to the optimizer again what was pinned")
    unpin.add_argument("app", metavar="APP")
    unpin.add_argument("blocks", nargs="*", metavar="BLOCK", help=f"{_BLOCK_HELP}; without any all are free")
    drain = add("drain", ctl_commands.drain, "give an app no new work, and wait until nothing of it is in flight")
    drain.add_argument("app", nargs="?", metavar="APP", help="without it: every app, and whoever registers later")
    resume = add("resume", ctl_commands.resume, "let a drained app go on, and wait until its route runs")
    resume.add_argument("app", nargs="?", metavar="APP", help="without it: all")
    limit = add("limit", ctl_commands.limit, "change what all apps together may use")
    limit.add_argument("what", choices=("memory",))
    limit.add_argument("value", type=checked(size), metavar="SIZE", help='such as 80MB; "auto" as configured')
    add("why", ctl_commands.why, "why an app runs what it runs, and what more of a limit would buy").add_argument(
        "app", metavar="APP"
    )
    whatif = add(
        "whatif", ctl_commands.whatif, "the plan that edits would lead to, beside the present one; nothing is changed"
    )
    whatif.add_argument("--budget", type=checked(budget_of), action="append", default=[], metavar="APP=DURATION")
    whatif.add_argument("--memory", type=checked(parse_size), metavar="SIZE", help="the limit, such as 300MB")
    whatif.add_argument("--add", type=checked(addition), action="append", default=[], metavar="MODEL:BUDGET:RATE")
    whatif.add_argument("--objective", choices=OBJECTIVES)
    whatif.epilog = "such as: schedctl whatif --budget cam1=20ms --memory 300MB --add digits-residual:50ms:15Hz"
    objective = add(
        "objective", ctl_commands.objective, "what is best among the plans that keep the limits; with NAME change it"
    )
    objective.add_argument("name", nargs="?", choices=OBJECTIVES, metavar="NAME", help=", ".join(OBJECTIVES))
    level = add(
        "log-level",
        ctl_commands.log_level,
        "which events the daemon logs, until it ends or reloads; with LEVEL change it",
    )
    level.add_argument("level", nargs="?", choices=LOG_LEVELS, metavar="LEVEL", help=", ".join(LOG_LEVELS))
    top = add("top", ctl_commands.top, "a live view, with keys to move budgets; in a pipe a page for every look")
    top.add_argument("--interval", type=seconds, default=0.5, metavar="S", help="seconds between two looks (0.5)")
    top.add_argument("--looks", type=count, metavar="N", help="leave after so many; else it goes on until q")
    top.add_argument("--picture", type=Path, metavar="FILE", help="write the screen after those looks (30) as SVG")
    overrides = add(
        "overrides", ctl_commands.overrides, "what operators have set, which holds over restarts; with drop: no longer"
    )
    overrides.add_argument("drop", nargs="?", choices=("drop",), help="go back to what apps and configuration ask for")
    overrides.add_argument("app", nargs="?", metavar="APP", default=ALL, help=f'"{ALL}" (the default) drops everything')
    add(
        "reload",
        ctl_commands.reload,
        "have the daemon read its configuration again: what was applied, and what needs a restart",
    )
    keys = add_alone("keys", ctl_remote.new_keys, "make the keys of an operator on other machines: --connect")
    ctl_remote.add_keys(keys)
    events = add("events", ctl_commands.events, "the next event; with --follow all of them")
    events.add_argument("--follow", action="store_true", help="go on until interrupted")
    events.add_argument("--kind", action="append", choices=EVENT_KINDS, help="only this kind; may be repeated")
    completion = add_alone("completion", lambda args: script(parser, args.shell), HELP)
    completion.add_argument("shell", choices=SHELLS)
    return parser
