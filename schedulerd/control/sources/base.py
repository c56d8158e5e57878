"""What a source is: one small reader of one part of the board.

A source has one method. What it could not read is absent or None, never zero; about what it does not
understand it raises, and `monitor.Monitor` marks it and goes on. The roots that it reads under (`/proc`,
`/sys/fs/cgroup`) are arguments, so that tests read a captured tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

Readings = Mapping[str, float | int | None]
"""Values by the name of the `Snapshot` field that they fill."""


class Source(Protocol):
    """Reads one part of the board."""

    @property
    def name(self) -> str:
        """Short word for messages, e.g. `memory`."""
        ...

    def read(self) -> Readings:
        """Read now. Raises OSError or ValueError where a file is unreadable or makes no sense."""
        ...


def read_optional(path: Path) -> str | None:
    """The text of a file that a kernel may or may not have; other failures are raised."""
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
