"""How much memory the board has left: /proc/meminfo, as proc_meminfo(5) describes it.

Read directly and not through psutil, whose root is one global for the whole process (`psutil.PROCFS_PATH`).
"""

from __future__ import annotations

from pathlib import Path

from schedulerd.control.sources.base import PROC, Readings


class MemorySource:
    """Total and available memory of the whole board, whatever cgroup we are in."""

    name = "memory"

    def __init__(self, proc: Path = PROC) -> None:
        self._path = proc / "meminfo"

    def read(self) -> Readings:
        """`memory_total_bytes` and `memory_available_bytes` (the kernel's estimate, without swapping)."""
        text = self._path.read_text()
        return {
            "memory_total_bytes": _bytes(text, "MemTotal"),
            "memory_available_bytes": _bytes(text, "MemAvailable"),
        }


def _bytes(text: str, name: str) -> int | None:
    """Lines are `MemTotal:        8042068 kB`, where kB means 1024 bytes."""
    line = next((line for line in text.splitlines() if line.startswith(name + ":")), None)
    if line is None:
        return None
    amount, unit = line.split()[1:]
    if unit != "kB" or int(amount) < 0:
        raise ValueError(f"{name} is {amount} {unit}, expected a count of kB")
    return int(amount) * 1024
