"""`schedulerd check-config`: everything that is wrong with a configuration, or what is set and by which file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedulerd.config_files import Found, Mistake

RIGHT, WRONG = 0, 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check-config` and its options."""
    parser = subparsers.add_parser(
        "check-config",
        help="everything that is wrong with a configuration, or what is set and by which file",
        epilog="exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="instead of /etc/schedulerd/schedulerd.toml")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where nothing is wrong; nothing is started and nothing is written."""
    from schedulerd import config

    found = config.read(args.file)
    if args.json:
        print(json.dumps(_document(found), indent=2))
    else:
        print("\n".join(_mistakes(found) if found.mistakes else _set(found)))
    return WRONG if found.mistakes else RIGHT


def _document(found: Found) -> dict[str, Any]:
    given = [
        {"section": section, "key": key, "value": one.text, "file": one.file, "instead_of": list(one.before)}
        for (section, key), one in found.given.items()
    ]
    return {"files": list(found.files), "given": given, "mistakes": [one._asdict() for one in found.mistakes]}


def _mistakes(found: Found) -> list[str]:
    from schedulerd.commands.tables import count_text

    files = {mistake.file for mistake in found.mistakes}
    lines = [_line(mistake) for mistake in found.mistakes]
    return [*lines, f"{count_text(len(found.mistakes), 'mistake')} in {count_text(len(files), 'file')}"]


def _line(mistake: Mistake) -> str:
    """File, key, value and what could stand there instead."""
    from schedulerd.cells import plain

    if not mistake.key:
        return plain(mistake)
    place = f"{mistake.file}: [{mistake.section}] {mistake.key} = {mistake.value}"
    return plain(f"{place}: {mistake.reason}{_range(mistake)}")


def _range(mistake: Mistake) -> str:
    """What the key takes, where the reason does not say it already."""
    return f"; it takes {mistake.allowed}" if mistake.allowed not in mistake.reason else ""


def _set(found: Found) -> list[str]:
    from schedulerd.cells import plain
    from schedulerd.commands.tables import table

    if not found.files:
        return ["there is no configuration file: every key has its default"]
    rows = [
        (plain(one.file), f"[{section}] {key}", plain(one.text), plain(_instead(one.before)))
        for (section, key), one in sorted(found.given.items(), key=lambda item: found.files.index(item[1].file))
    ]
    read = f"nothing is wrong; read: {plain(', '.join(found.files))}"
    if not rows:
        return [read, "every key has its default"]
    return [read, *table(("FILE", "KEY", "VALUE", "INSTEAD OF THAT OF"), rows)]


def _instead(before: tuple[str, ...]) -> str:
    return ", ".join(before) or "-"
