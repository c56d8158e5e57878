"""A memory cgroup of the kernel for the daemon of a scene, where this user can make one (cgroups(7)).

It is made below our own, so that whatever holds for us holds for it. Where none can be made, as without the right to,
or below a v2 group that has processes, the limit is played by files (`sensors`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.control.sources.base import CGROUP, PROC

_END_TIMEOUT_S: Final = 5.0


class _Files(NamedTuple):
    """How one version names the same things."""

    limit: str
    none: str
    usage: str
    inactive: str
    kills: str


_V2: Final = _Files("memory.max", "max", "memory.current", "inactive_file", "memory.events")
_V1: Final = _Files("memory.limit_in_bytes", "-1", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")


class MemoryGroup:
    """One such group."""

    def __init__(self, folder: Path, files: _Files) -> None:
        self._folder = folder
        self._files = files

    @property
    def members(self) -> Path:
        """The file into which a process writes its number to be in it; children follow."""
        return self._folder / "cgroup.procs"

    def limit(self, limit_bytes: float | None) -> None:
        """All members together may take so much. v1 refuses what cannot be had at once: it is then as before."""
        text = self._files.none if limit_bytes is None else f"{max(0.0, limit_bytes):.0f}"
        with suppress(OSError):
            (self._folder / self._files.limit).write_text(text)

    def used_bytes(self) -> int:
        """What they hold, without pages of files that are given back before it hurts."""
        used = int((self._folder / self._files.usage).read_text())
        return used - _count(self._folder / "memory.stat", self._files.inactive)

    def kills(self) -> int:
        """How many of them the kernel has killed for memory."""
        return _count(self._folder / self._files.kills, "oom_kill")


@contextmanager
def memory_group() -> Iterator[MemoryGroup | None]:
    """A new group, taken away with the block, when its members have ended; None where there can be none."""
    made = _made()
    try:
        yield made
    finally:
        if made is not None:
            _remove(made.members.parent)


def _made() -> MemoryGroup | None:
    for line in (PROC / "self" / "cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        v2 = number == "0" and not controllers
        if not v2 and "memory" not in controllers.split(","):
            continue
        files, mount = (_V2, CGROUP) if v2 else (_V1, CGROUP / "memory")
        folder = mount / path.lstrip("/") / f"schedulerd-scene-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if os.access(folder / files.limit, os.W_OK):
            return MemoryGroup(folder, files)
        folder.rmdir()
    return None


def _remove(folder: Path) -> None:
    """The kernel may take a moment to let go of the last member."""
    until_s = time.monotonic() + _END_TIMEOUT_S
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def _count(path: Path, name: str) -> int:
    lines = path.read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name + " ")), 0)
