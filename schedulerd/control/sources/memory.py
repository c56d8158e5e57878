"""How much memory and swap the board has left: /proc/meminfo, as proc_meminfo(5) describes it."""

from __future__ import annotations

from pathlib import Path

from schedulerd.control.sources.base import PROC, Readings, read_text

_FIELDS = {
    "MemTotal": "memory_total_bytes",
    "MemAvailable": "memory_available_bytes",
    "SwapTotal": "swap_total_bytes",
    "SwapFree": "swap_free_bytes",
}


class MemorySource:
    """Memory and swap of the whole board, whatever cgroup we are in."""

    name = "memory"
    every_s = 0.0

    def __init__(self, proc: Path = PROC) -> None:
        self._path = proc / "meminfo"

    def read(self) -> Readings:
        """Total and available memory (the kernel's estimate, without swapping), total and free swap, in bytes."""
        parted = (line.partition(":") for line in read_text(self._path).splitlines())
        found = {name: amount for name, _, amount in parted if name in _FIELDS}
        if not found:
            raise ValueError(f"{self._path} has none of the lines {', '.join(_FIELDS)}")
        return {field: _bytes(name, found.get(name)) for name, field in _FIELDS.items()}


def _bytes(name: str, text: str | None) -> int | None:
    """Lines are `MemTotal:        8042068 kB`, where kB means 1024 bytes."""
    if text is None:
        return None
    amount, unit = text.split()
    if unit != "kB" or int(amount) < 0:
        raise ValueError(f"{name} is {amount} {unit}, expected a count of kB")
    return int(amount) * 1024
