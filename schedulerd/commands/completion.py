"""`schedulerd completion`: a script that completes the program's commands and options in a shell."""

from __future__ import annotations

import argparse
from functools import partial

from schedulerd.completion import HELP, SHELLS, script


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], program: argparse.ArgumentParser
) -> None:
    """Add `completion` to the program whose script it prints."""
    parser = subparsers.add_parser("completion", help=HELP, description=HELP)
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=partial(_run, program))


def _run(program: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    print(script(program, args.shell))
    return 0
