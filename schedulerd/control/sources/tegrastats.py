"""What NVIDIA's `tegrastats` prints on a Jetson (Jetson Linux Developer Guide, "tegrastats Utility").

Which fields a line has differs between boards, releases and moments. Each is looked for by itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schedulerd.control.readings import Core, Gpu, Rail, Zone
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.devfreq import DevfreqSource
from schedulerd.control.sources.power import has_rails, whole_board_w
from schedulerd.control.sources.thermal import COLDEST, HOTTEST, has_zones

PROGRAM: Final = "tegrastats"
OPTIONS: Final = ("--interval", "500")
"""Milliseconds between two lines, and before the first."""

_AMOUNT: Final = r"\b{} (\d+)/(\d+)MB"
_CORE: Final = re.compile(r"(\d+)%(?:@(\d+))?")
_CORES: Final = re.compile(r"\bCPU \[((?:\d+%(?:@\d+)?|off)(?:,(?:\d+%(?:@\d+)?|off))*)\]")
# 43%, 0%@114 or 43%@[305,0], with a clock in MHz for each part of it that has its own.
_CLOCKED: Final = r"\b{} (\d+)%(?:@\[?([\d,]+))?"
_ZONE: Final = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C(?!\S)")
# Now and on average, in mW: 3215mW/3215mW, and without a unit before release 35.
_RAIL: Final = re.compile(r"(?<!\S)([A-Z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?!\S)")

_CONSTANT: Final = ("PMIC",)
"""No measurement: it says 50 or 100 degrees whatever the board does."""

_MB: Final = 2**20
_LONGEST_LINE: Final = 16384


@dataclass(frozen=True, slots=True)
class Tegrastats:
    """One line. What it does not have is None or empty."""

    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    swap_total_bytes: int | None = None
    cores: tuple[Core, ...] = ()
    """One that is off has a number alone."""
    gpus: tuple[Gpu, ...] = ()
    """The board's one."""
    memory_busy: float | None = None
    """Share of the memory's bandwidth in use (EMC)."""
    zones: tuple[Zone, ...] = ()
    rails: tuple[Rail, ...] = ()
    """As they are now."""
    mean_rails: tuple[Rail, ...] = ()
    """Since the program was started."""

    @property
    def power_w(self) -> float | None:
        """Of the rail that feeds all others, where there is one."""
        return whole_board_w(self.rails)


def parse(line: str) -> Tegrastats:
    """One line. Raises ValueError where nothing in it is known."""
    memory, swap = _amounts(line, "RAM"), _amounts(line, "SWAP")
    cores, rails = _CORES.search(line), _RAIL.findall(line)
    parsed = Tegrastats(
        *memory,
        *swap,
        cores=_cores(cores[1]) if cores else (),
        gpus=_gpus(line),
        memory_busy=_clocked(line, "EMC_FREQ")[0],
        zones=tuple(_zones(line)),
        rails=tuple(Rail(name, int(now) / 1e3) for name, now, _ in rails),
        mean_rails=tuple(Rail(name, int(mean) / 1e3) for name, _, mean in rails),
    )
    if parsed == Tegrastats():
        raise ValueError(f"{line[:80]!r} is not a line of tegrastats")
    return parsed


class TegrastatsSource:
    """Runs the program for one line. It may block for `timeout_s`: only for use in an `Aside`."""

    name = PROGRAM
    every_s = 2.0

    def __init__(
        self, fields: Collection[str], command: Sequence[str] = (PROGRAM, *OPTIONS), timeout_s: float = 4.0
    ) -> None:
        """A source that has read nothing yet.

        Args:
            fields: those of a snapshot that no file gives, of `zones`, `rails`, `power_w` and `gpus`.
            command: what prints lines until it is ended.
            timeout_s: for the first of them.
        """
        self._fields = tuple(fields)
        self._command = tuple(command)
        self._timeout_s = timeout_s

    def read(self) -> Readings:
        """The fields. Raises OSError where the program fails or takes too long, ValueError where it prints nonsense."""
        parsed = parse(_first_line(self._command, self._timeout_s))
        values = {field: getattr(parsed, field) for field in self._fields}
        return {field: None if value == () else value for field, value in values.items()}


def instead_of_files(sys: Path = SYS, program: str = PROGRAM) -> TegrastatsSource | None:
    """A source of what a Jetson's kernel shows in no file; None where that is nothing, or there is no such program."""
    found = shutil.which(program)
    if found is None:
        return None
    zones, rails, gpus = (_is_shown(look, sys) for look in (has_zones, has_rails, _has_gpu))
    shown = {"zones": zones, "rails": rails, "power_w": rails, "gpus": gpus}
    missing = [field for field, is_shown in shown.items() if not is_shown]
    return TegrastatsSource(missing, (found, *OPTIONS)) if missing else None


def _has_gpu(sys: Path) -> bool:
    return DevfreqSource(sys).is_there()


def _is_shown(look: Callable[[Path], bool], sys: Path) -> bool:
    """Whether there are such files; there are where they make no sense now, and the source of them says what is wrong.

    Asked once, as the daemon starts, which no sensor may keep it from.
    """
    try:
        return look(sys)
    except (OSError, ValueError):
        return True


def _amounts(line: str, name: str) -> tuple[int | None, int | None]:
    """Bytes in use and in all, of `RAM 6185/7620MB`."""
    match = re.search(_AMOUNT.format(name), line)
    return (int(match[1]) * _MB, int(match[2]) * _MB) if match else (None, None)


def _cores(text: str) -> tuple[Core, ...]:
    """Of `15%@729,off,0%@806`."""
    return tuple(_core(number, _CORE.match(core)) for number, core in enumerate(text.split(",")))


def _core(number: int, match: re.Match[str] | None) -> Core:
    if match is None:
        return Core(number)
    return Core(number, min(1.0, int(match[1]) / 100), clock_hz=int(match[2]) * 1e6 if match[2] else None)


def _gpus(line: str) -> tuple[Gpu, ...]:
    busy, clock_hz = _clocked(line, "GR3D_FREQ")
    return () if busy is None else (Gpu("GR3D", busy=busy, clock_hz=clock_hz),)


def _clocked(line: str, name: str) -> tuple[float | None, float | None]:
    """Busy share, and the highest clock in Hz; None for the clock where it is not told or its parts are all off."""
    match = re.search(_CLOCKED.format(name), line)
    if match is None:
        return None, None
    mhz = max((int(part) for part in (match[2] or "").split(",") if part), default=0)
    return min(1.0, int(match[1]) / 100), mhz * 1e6 or None


def _zones(line: str) -> list[Zone]:
    """Temperatures that are some: a part that is switched off says -256."""
    found = [(name, float(celsius)) for name, celsius in _ZONE.findall(line) if name not in _CONSTANT]
    return [Zone(name, celsius) for name, celsius in found if COLDEST <= celsius <= HOTTEST]


def _first_line(command: Sequence[str], timeout_s: float) -> str:
    no = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=no, stdout=subprocess.PIPE, stderr=no, text=True, errors="replace") as run:
        too_late = threading.Timer(timeout_s, run.kill)
        too_late.start()
        try:
            line = run.stdout.readline(_LONGEST_LINE) if run.stdout else ""
        finally:
            too_late.cancel()
            run.kill()
    if not line:
        raise TimeoutError(f"{command[0]} ended or was ended after {timeout_s:g} s without a line")
    return line
