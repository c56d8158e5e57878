"""What the memory limits of our cgroup and of its ancestors leave to us, for cgroup v2 and v1.

/proc/meminfo knows nothing of these limits. They are described in cgroups(7) and in the kernel's
documentation, admin-guide/cgroup-v2 ("memory.max", "memory.high") and admin-guide/cgroup-v1/memory
("memory.limit_in_bytes"). A kernel without the memory cgroup, such as the Raspberry Pi's default one, reads
as None.
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
    """Bytes that the strictest of the memory limits above us leaves; None where there is none."""

    name = "cgroup"

    def __init__(self, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._membership = proc / "self" / "cgroup"
        self._mount = cgroup

    def read(self) -> Readings:
        """`memory_cgroup_bytes`."""
        left = [_left(folder, files) for folder, files in self._groups()]
        return {"memory_cgroup_bytes": min((n for n in left if n is not None), default=None)}

    def _groups(self) -> Iterator[tuple[Path, _Files]]:
        """Our memory cgroup and its ancestors, from lines `id:controllers:path` (cgroups(7))."""
        for line in (read_optional(self._membership) or "").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                yield from ((folder, _V2) for folder in _upwards(self._mount, path))
            elif "memory" in controllers.split(","):
                yield from ((folder, _V1) for folder in _upwards(self._mount / "memory", path))


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
