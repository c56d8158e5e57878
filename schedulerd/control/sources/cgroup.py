"""What the memory limits of our cgroup and of its ancestors leave to us, for cgroup v2 and v1.

/proc/meminfo knows nothing of these limits. They are described in cgroups(7) and in the kernel's
documentation, admin-guide/cgroup-v2 ("memory.max", "memory.high") and admin-guide/cgroup-v1/memory
("memory.limit_in_bytes").

A kernel may have no memory cgroup: the Raspberry Pi's firmware starts it with `cgroup_disable=memory`. Then nothing
can hold us to a limit but ourselves. The command line does not tell, because a later `cgroup_enable=memory` may have
taken that back; /proc/cgroups does (cgroups(7)), and the list of v2's controllers where a newer kernel leaves them
out of that file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from schedulerd.control.sources.base import CGROUP, PROC, Readings, read_optional

# v1 writes "no limit" as the largest multiple of the page size in a signed 64-bit number; no board has a PiB.
_UNLIMITED_BYTES = 2**50


@dataclass(frozen=True, slots=True)
class _Files:
    """How one version of the interface names the same things."""

    limits: tuple[str, ...]
    usage: str
    inactive_file: str


_V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


class CgroupSource:
    """Bytes that the strictest of the memory limits above us leaves, None where there is none, and if there can be."""

    name = "cgroup"
    every_s = 0.0

    def __init__(self, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._membership = proc / "self" / "cgroup"
        self._controllers = proc / "cgroups"
        self._mount = cgroup
        self._told: str | None = None
        self._groups: list[tuple[Path, _Files]] = []
        """Our memory cgroup and its ancestors, as `_told` has them."""
        self._confined: bool | None = None

    def read(self) -> Readings:
        """`memory_cgroup_bytes` and `memory_confined`."""
        told = read_optional(self._membership) or ""
        if told != self._told:
            self._groups = list(_groups(told, self._mount))
            self._told = told
        if self._confined is None:  # a kernel does not change its mind
            self._confined = self._is_confined()
        left = [_left(folder, files) for folder, files in self._groups]
        return {
            "memory_cgroup_bytes": min((n for n in left if n is not None), default=None),
            "memory_confined": self._confined,
        }

    def _is_confined(self) -> bool | None:
        """Whether there is a memory controller, in this part of the tree or outside of a container; None: no telling.

        /proc/cgroups has lines `memory  4  15  1`: controller, hierarchy, cgroups, whether it is enabled.
        """
        rows = map(str.split, (read_optional(self._controllers) or "").splitlines())
        enabled = next((words[3] == "1" for words in rows if len(words) == 4 and words[0] == "memory"), None)
        if enabled is not None:
            return enabled
        if any(files is _V1 for _, files in self._groups):
            return True
        listed = [read_optional(folder / "cgroup.controllers") for folder, _ in self._groups]
        known = [text.split() for text in listed if text is not None]
        return any("memory" in controllers for controllers in known) if known else None


def _groups(told: str, mount: Path) -> Iterator[tuple[Path, _Files]]:
    """From lines `id:controllers:path` (cgroups(7))."""
    for line in told.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield from ((folder, _V2) for folder in _upwards(mount, path))
        elif "memory" in controllers.split(","):
            yield from ((folder, _V1) for folder in _upwards(mount / "memory", path))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Folders from `path` up to the mount; some do not exist where a container sees part of the tree only."""
    inner = PurePosixPath(path.lstrip("/"))
    if ".." in inner.parts:  # a process outside our cgroup namespace
        inner = PurePosixPath()
    yield from (mount / folder for folder in (inner, *inner.parents))


def _left(folder: Path, files: _Files) -> int | None:
    limit = min((n for n in (_limit(folder / name) for name in files.limits) if n is not None), default=None)
    usage = read_optional(folder / files.usage) if limit is not None else None
    if limit is None or usage is None:
        return None
    # Pages of files that nobody used lately are given back before the limit hurts, as in MemAvailable.
    return max(0, limit - int(usage) + _inactive_file_bytes(folder, files))


def _limit(path: Path) -> int | None:
    text = (read_optional(path) or "max").strip()
    limit = _UNLIMITED_BYTES if text == "max" else int(text)
    return limit if limit < _UNLIMITED_BYTES else None


def _inactive_file_bytes(folder: Path, files: _Files) -> int:
    lines = (read_optional(folder / "memory.stat") or "").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(files.inactive_file + " ")), 0)
