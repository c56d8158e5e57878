"""`schedctl`: ask a running daemon how things are and why, move budgets and limits, listen to events.

Exit codes: 0 done, 1 the daemon refused (the message says why), 2 wrong usage or a key that cannot be used, 3 no daemon
or no answer, 4 done in part (`reload`: the rest takes a restart; `drain`: requests are still in flight), 130
interrupted. With `--json` an answer is printed as it came over the wire (clients/PROTOCOL.md), an event as one line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from schedulerd import ctl_commands, ctl_remote
from schedulerd.cells import plain
from schedulerd.ctl_commands import DONE, LONG_S, SHORT_S
from schedulerd.ctl_control import Command, Connect, Control
from schedulerd.ctl_parser import make_parser
from schedulerd_client import ControlClient, Refusal, TransportError, Unreachable

REFUSED, USAGE, UNANSWERED, INTERRUPTED = 1, 2, 3, 130


def _to_the_daemon(runtime: Path | None, timeout_s: float) -> Control:
    return ControlClient(runtime, timeout_s=timeout_s)


def main(arguments: Sequence[str] | None = None, connect: Connect = _to_the_daemon) -> int:
    """Run one sub-command and return the exit code; `connect` opens the control socket of a runtime directory."""
    args = make_parser((__doc__ or "").split("\n\n")[0]).parse_args(arguments)
    if hasattr(args, "alone"):
        return _alone(args)
    if args.command is ctl_commands.whatif and not _has_edits(args):
        return _fail("whatif: nothing would be different; give --budget, --memory, --add or --objective", USAGE)
    timeout_s = getattr(args, "timeout", _patience_s(args.command))
    try:
        target = ctl_remote.target(args, os.environ)
        if target is None:
            connection = connect(getattr(args, "runtime", None), timeout_s)
        else:
            connection = ControlClient(target.address, timeout_s=timeout_s, keys=target.keys)
    except ValueError as error:  # a runtime directory that cannot be one, a key that is not there
        return _fail(str(error), USAGE)
    except TransportError as error:
        return _fail(str(error), UNANSWERED)
    command: Command = args.command
    try:
        with connection as control:
            return command(control, args) or DONE
    except Refusal as error:
        return _fail(f"{error} ({error.code})", REFUSED)
    except Unreachable as error:
        return _fail(f"{error} (--runtime DIR)" if target is None else str(error), UNANSWERED)
    except TransportError as error:
        return _fail(str(error), UNANSWERED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `schedctl apps | head`: the reader has left; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _alone(args: argparse.Namespace) -> int:
    """A command that asks no daemon."""
    try:
        print(args.alone(args))
    except ValueError as error:
        return _fail(str(error), REFUSED)
    except TransportError as error:
        return _fail(str(error), UNANSWERED)
    return DONE


def _has_edits(args: argparse.Namespace) -> bool:
    return bool(args.budget or args.memory is not None or args.add or args.objective)


def _patience_s(command: Command) -> float:
    """A daemon that works out an answer gives up a little earlier, and its refusal is to be heard."""
    return LONG_S if command in _LONG else SHORT_S


_LONG = (
    *(ctl_commands.why, ctl_commands.whatif, ctl_commands.reload),
    *(ctl_commands.budget, ctl_commands.priority, ctl_commands.pin, ctl_commands.unpin),
    *(ctl_commands.drain, ctl_commands.resume),
)


def _fail(message: str, code: int) -> int:
    print(f"schedctl: {plain(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
