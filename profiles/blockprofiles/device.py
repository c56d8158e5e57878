"""What a profile was measured on: whatever changes the time of a block belongs to the fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from blockprofiles.pseudofile import read_text

FINGERPRINT_DIGITS = 16
MEMORY_GRAIN_BYTES = 512 * 2**20
"""Memory is rounded to this: what the kernel keeps for itself varies by some MB between starts."""


@dataclass(frozen=True, slots=True)
class Device:
    """A board, the engine on it, and the threads the engine uses for one block."""

    cpu_model: str
    machine: str
    """Architecture as uname(2) gives it: `x86_64`, `aarch64`."""
    cores: int
    """Cores that this process may use."""
    governor: str | None
    """Frequency governors of the cores, e.g. `schedutil`; None where the kernel shows none."""
    memory_bytes: int
    engine: str
    engine_version: str
    threads: int

    @property
    def fingerprint(self) -> str:
        """Short stable name of this device: 16 hexadecimal digits."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()
        return hashlib.sha256(canonical).hexdigest()[:FINGERPRINT_DIGITS]


def read_device(
    engine: str,
    engine_version: str,
    threads: int,
    *,
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
    machine: str | None = None,
    cores: int | None = None,
) -> Device:
    """The device this process runs on; `proc` and `sys` are the roots of procfs(5) and sysfs(5)."""
    return Device(
        cpu_model=_cpu_model(proc, sys),
        machine=machine or platform.machine(),
        cores=cores or usable_cores(),
        governor=_governor(sys),
        memory_bytes=_memory_bytes(proc),
        engine=engine,
        engine_version=engine_version,
        threads=threads,
    )


def difference(other: Device, here: Device) -> tuple[str, ...]:
    """In words what tells `other` from `here`: one entry for each field that differs."""
    theirs, ours = asdict(other), asdict(here)
    return tuple(f"{key} {theirs[key]!r}, here {ours[key]!r}" for key in ours if theirs[key] != ours[key])


def usable_cores() -> int:
    """Cores in this process's affinity mask (sched_getaffinity(2)), which may be fewer than the board has."""
    return len(os.sched_getaffinity(0))


def _cpu_model(proc: Path, sys: Path) -> str:
    """x86 kernels name the model in cpuinfo; ARM kernels number the parts there and name the board in sysfs."""
    entries = [line.partition(":") for line in (read_text(proc / "cpuinfo") or "").splitlines()]
    values = [(key.strip(), value.strip()) for key, _, value in entries]
    names = sorted({value for key, value in values if key == "model name"})
    if names:
        return ", ".join(names)
    parts = sorted({value for key, value in values if key == "CPU part"})
    board = (read_text(sys / "firmware/devicetree/base/model") or "").rstrip("\0")
    return " ".join(filter(None, (board, *parts))) or "unknown"


def _governor(sys: Path) -> str | None:
    policies = (sys / "devices/system/cpu/cpufreq").glob("policy*/scaling_governor")
    governors = {text for path in policies if (text := read_text(path))}
    return ", ".join(sorted(governors)) or None


def _memory_bytes(proc: Path) -> int:
    for line in (read_text(proc / "meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            total_bytes = int(value.split()[0]) * 1024
            return max(1, round(total_bytes / MEMORY_GRAIN_BYTES)) * MEMORY_GRAIN_BYTES
    return 0
