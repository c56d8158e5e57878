"""What README.md and docs/*.md tell a reader to run: commands with the output that is shown for them, and Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS: Final = frozenset(
    {
        *("schedctl", "schedulerd", "python", "python3", "python3.11", "pip", "make", "git", "export", "cd", "ln"),
        *("cp", "rm", "kill", "curl", "ffmpeg", "promtool", "apt", "dpkg", "systemctl", "systemd-sysusers"),
        *("systemd-tmpfiles", "systemd-analyze", "journalctl", "usermod", "userdel", "chown", "chmod"),
    }
)
"""What begins a command."""
_INSTALLED: Final = re.compile(r"(?:\.venv|/opt/schedulerd)/bin/(?=schedctl|schedulerd|python)")
"""Folders of programs that are this installation's."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page."""

    page: str
    text: str
    """On one line, without its comment."""
    shown: tuple[str, ...] = ()
    """Output that the page shows."""


def commands() -> list[Command]:
    """All commands of all pages, in blocks and within sentences."""
    return [found for path in PAGES for found in commands_of(path.name, path.read_text())]


def commands_of(page: str, text: str) -> Iterator[Command]:
    """Those of one page: blocks first. What stands in a comment is not there yet."""
    text = _INSTALLED.sub("", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    for block in blocks(text):
        yield from _commands_in(page, block)
    for line in _prose(text):
        for code in re.findall(r"`([^`]+)`", line):
            if _is_command(code) and len(code.split()) > 1 and "->" not in code:
                yield Command(page, code)


def python_of(path: Path) -> list[str]:
    """The fenced Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[list[str]]:
    """Indented blocks of a page without their indentation; fenced ones are Python and TOML, and no commands."""
    for indented, lines in groupby(_without_fences(text), lambda line: line.startswith("    ") or not line.strip()):
        block = [line[4:].rstrip() for line in lines]
        if indented and any(block):
            yield block


def _without_fences(text: str) -> list[str]:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()


def _prose(text: str) -> Iterator[str]:
    """Paragraphs, each as one line, for a command may be broken over two."""
    for is_prose, lines in groupby(_without_fences(text), lambda line: bool(line.strip()) and line[:4] != "    "):
        if is_prose:
            yield " ".join(lines)


def _is_command(line: str) -> bool:
    words = line.split()
    return bool(words) and words[0].rpartition("/")[2] in PROGRAMS and line[0] != " "


def _commands_in(page: str, block: list[str]) -> Iterator[Command]:
    starts = [number for number, line in enumerate(block) if line.startswith("$ ")]
    if not starts:
        yield from (Command(page, _uncommented(line)) for line in _joined(block) if _is_command(line))
    for start, end in pairwise([*starts, len(block)] if starts else []):
        yield Command(page, _uncommented(block[start][2:]), tuple(line for line in block[start + 1 : end] if line))


def _joined(block: list[str]) -> list[str]:
    """Lines that end in a backslash or a pipe go on in the next."""
    return re.sub(r"(\\|(\|))\n *", r"\2 ", "\n".join(block)).splitlines()


def _uncommented(line: str) -> str:
    return " ".join(re.sub(r" +# .*", "", line).split())
