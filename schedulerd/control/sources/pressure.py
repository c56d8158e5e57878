"""Time lost for want of processor, memory and I/O: pressure stall information (the kernel's accounting/psi).

Each file has lines `some avg10=0.12 avg60=0.05 avg300=0.01 total=11842`. The total, in microseconds, tells what went
on during the last second; the shortest of the averages is ten seconds long and renewed every two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Pressure, Stall
from schedulerd.control.sources.base import CGROUP, PROC, Readings, read_optional
from schedulerd.control.sources.window import Window

_RESOURCES: Final = ("cpu", "memory", "io")


class _Counter(NamedTuple):
    """Which total it is."""

    resource: str
    kind: str
    """`some` or `full`."""
    file: str


Totals = Mapping[_Counter, int]
"""Microseconds."""


class PressureSource:
    """Of each resource the larger stalls: the board's, or those of our cgroup (admin-guide/cgroup-v2, `cpu.pressure`).

    None on the first reading, and on a kernel without PSI or that was started with `psi=0`.
    """

    name = "pressure"
    every_s = 0.0

    def __init__(self, clock: Clock, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._clock = clock
        self._board = {name: proc / "pressure" / name for name in _RESOURCES}
        self._membership = proc / "self" / "cgroup"
        # Beside v1 the v2 tree, which alone has stalls, is mounted one folder further down.
        self._mount = cgroup / "unified" if os.access(cgroup / "unified", os.F_OK) else cgroup
        self._told: str | None = None
        self._own: Mapping[str, Path] = {}
        """By resource, the files of our cgroup, as `_told` names it."""
        self._window: Window[Totals] = Window()

    def read(self) -> Readings:
        """`pressure`."""
        now_s, now = self._clock.now_s(), dict(self._totals())
        before = self._window.before(now_s, now)
        if before is None or now_s <= before[0]:
            return {"pressure": None}
        shares = _shares(before[1], now, now_s - before[0])
        return {"pressure": Pressure(*(_stall(shares, name) for name in _RESOURCES)) if shares else None}

    def _totals(self) -> Iterator[tuple[_Counter, int]]:
        told = read_optional(self._membership) or ""
        if told != self._told:
            self._own, self._told = _own_files(told, self._mount), told
        for files in (self._board, self._own):
            for resource, path in files.items():
                yield from _lines(resource, path)


def _own_files(told: str, mount: Path) -> dict[str, Path]:
    """From the line `0::path` (cgroups(7)); none where our cgroup is none of v2, or outside of what we see."""
    path = next((PurePosixPath(line[3:].lstrip("/")) for line in told.splitlines() if line.startswith("0::")), None)
    if path is None or ".." in path.parts:
        return {}
    return {name: mount / path / f"{name}.pressure" for name in _RESOURCES}


def _lines(resource: str, path: Path) -> Iterator[tuple[_Counter, int]]:
    for line in (read_optional(path) or "").splitlines():
        kind, *_, total = line.split()
        if kind not in ("some", "full") or not total.startswith("total="):
            raise ValueError(f"{path} has the line {line!r}, expected 'some' or 'full', averages and total=")
        # "CPU full is undefined at the system level", and the kernel writes 0 there.
        if (kind, path.name) != ("full", "cpu"):
            yield _Counter(resource, kind, str(path)), int(total.removeprefix("total="))


def _shares(then: Totals, now: Totals, passed_s: float) -> dict[tuple[str, str], float]:
    """Of the time between two readings, by resource and kind; one that fell back, as in another cgroup, is 0."""
    shares: dict[tuple[str, str], float] = {}
    for counter, total_us in now.items():
        if counter in then:
            share = min(1.0, (total_us - then[counter]) / 1e6 / passed_s)
            key = counter.resource, counter.kind
            shares[key] = max(share, shares.get(key, 0.0))
    return shares


def _stall(shares: Mapping[tuple[str, str], float], resource: str) -> Stall | None:
    some = shares.get((resource, "some"))
    return None if some is None else Stall(some, shares.get((resource, "full")))
