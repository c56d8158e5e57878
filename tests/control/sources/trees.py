"""Small boards to read from: folders and files below a root, written by the tests that need them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, files: Mapping[str, object]) -> Path:
    """The folder, with these files in it, by name or path below it; each has its value and a new line, as in sysfs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return folder


def refuse(path: Path) -> Path:
    """Make reading the file fail, whoever reads: a folder stands in its place (EISDIR)."""
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    return path


def add_zone(sys: Path, number: int, kind: str, temperature: object, **trips: object) -> Path:
    """A thermal zone; `trips`: kind and millidegrees, in that order from trip point 0."""
    points: dict[str, object] = {}
    for index, (trip, millidegrees) in enumerate(trips.items()):
        points |= {f"trip_point_{index}_type": trip, f"trip_point_{index}_temp": millidegrees}
    zone = sys / "class" / "thermal" / f"thermal_zone{number}"
    return write(zone, {"type": kind, "temp": temperature, **points})


def add_hwmon(sys: Path, number: int, name: str, **files: object) -> Path:
    """A device of hwmon."""
    return write(sys / "class" / "hwmon" / f"hwmon{number}", {"name": name, **files})


def add_policy(sys: Path, number: int = 0, **khz: object) -> Path:
    """A cpufreq policy of a board at its full clock of 1.5 GHz, but for the files that are given."""
    files = {"cpuinfo_max_freq": 1500000, "scaling_max_freq": 1500000, "scaling_cur_freq": 1500000}
    folder = sys / "devices" / "system" / "cpu" / "cpufreq" / f"policy{number}"
    return write(folder, {**files, "cpuinfo_cur_freq": 1500000, "scaling_driver": "cpufreq-dt", **khz})


def add_program(folder: Path, script: str, name: str = "program") -> str:
    """A program that runs these lines of sh; its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
