"""The settings as a reference page and as an example file, written from `config.settings()` so that they never drift.

python -m schedulerd.reference markdown    the tables of docs/configuration.md
python -m schedulerd.reference toml        systemd/schedulerd.toml
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby

from schedulerd.config import SECTIONS, Setting, settings

WIDTH = 100


def markdown() -> str:
    """One table a section: key, default, legal values, help."""
    return "\n\n".join(_markdown_section(section, listed) for section, listed in _sections()) + "\n"


def toml() -> str:
    """A file with every key commented out at its default: as it stands it changes nothing."""
    heading = (
        "# schedulerd's configuration. Every key is shown at its default; remove the # of a line to change it.\n"
        "# `schedctl reload` applies the keys marked (live); the others take a restart of the daemon."
    )
    sections = (_toml_section(section, listed) for section, listed in _sections())
    return "\n\n".join((heading, *sections)) + "\n"


def _markdown_section(section: str, listed: Iterator[Setting]) -> str:
    heading = f"### [{section}]\n\n{_purpose(section)}\n\n| key | default | takes | live | what it does |"
    rows = (f"| `{s.key}` | {s.default} | {s.kind.range()} | {'yes' if s.live else ''} | {s.help} |" for s in listed)
    return "\n".join((heading, "| --- | --- | --- | --- | --- |", *rows))


def _toml_section(section: str, listed: Iterator[Setting]) -> str:
    lines = [f"# {_purpose(section)}", f"[{section}]"]
    for setting in listed:
        help_ = f"{setting.help} Takes {setting.kind.range()}.{' (live)' if setting.live else ''}"
        lines += textwrap.wrap(help_, WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"#{setting.key} = {_example(setting)}")
    return "\n".join(lines)


def _sections() -> Iterator[tuple[str, Iterator[Setting]]]:
    return groupby(settings(), key=lambda setting: setting.section)


def _purpose(section: str) -> str:
    return inspect.getdoc(SECTIONS[section]) or ""


def _example(setting: Setting) -> str:
    """The default; where that depends on the machine, the one of the system service, which comes first."""
    first = setting.default.split("`")[1]
    return f'"{first}"' if first.startswith("/") else first


if __name__ == "__main__":
    sys.stdout.write({"markdown": markdown, "toml": toml}[sys.argv[1]]())
