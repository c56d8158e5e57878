"""What a source is: one small reader of one part of the board.

A source has one method. What it could not read is absent or None, never zero; about what it does not
understand it raises, and `monitor.Monitor` marks it and goes on. The roots that it reads under (`/proc`, `/sys`,
`/sys/fs/cgroup`) are arguments, so that tests and scenes play a board that is not there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
SYS = Path("/sys")

_CHUNK_BYTES = 65536
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.EOPNOTSUPP)
"""What open(2) and read(2) say of a file that this kernel lacks, or whose device has left while it was open."""

Readings = Mapping[str, Any]
"""Values by the name of the `Snapshot` field that they fill: numbers, or frozen values of `readings`."""


class Source(Protocol):
    """Reads one part of the board."""

    @property
    def name(self) -> str:
        """Short word for messages, e.g. `memory`."""
        ...

    @property
    def every_s(self) -> float:
        """Least time between two reads; 0 where it may be read at every look."""
        ...

    def read(self) -> Readings:
        """Read now. Raises OSError or ValueError where a file is unreadable or makes no sense."""
        ...


def read_text(path: Path) -> str:
    """The text of a small file of the kernel's. Raises OSError, which names the file; ValueError if it is not text.

    Dozens of files are read at every look, and Path.read_text takes three times as long.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            parts = [os.read(file, _CHUNK_BYTES)]
            while parts[-1]:
                parts.append(os.read(file, _CHUNK_BYTES))
        finally:
            os.close(file)
    except OSError as error:  # of a failed read, Python does not say in which file
        raise OSError(error.errno, error.strerror, str(path)) from None
    return b"".join(parts).decode()


def read_optional(path: Path) -> str | None:
    """The text of a file that a kernel may or may not have; other failures are raised."""
    try:
        return read_text(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
