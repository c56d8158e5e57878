"""What a shell completes after a program's name: its commands, options, choices, files, and the apps that are there.

The script is made from the program's parser by shtab, so that a key press starts no Python but where apps are asked
for. Their names come from clients, and a shell runs what it finds in a word: names with anything in them but letters,
digits and a few marks are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SHELLS: Final = ("bash", "zsh", "fish")
APPS: Final = r"schedctl apps 2>/dev/null | sed -nE '2,$s/^([[:alnum:]_.-]+) .*/\1/p'"
"""Prints the names of the apps, a line each."""
HELP: Final = "print a script that completes this program's commands and options in a shell"


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for one of `SHELLS`."""
    import shtab  # only this command needs it

    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "APP":
            action.complete = shtab.cmd(APPS)  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of the parser and of its sub-commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)
