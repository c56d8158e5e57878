"""What `vcgencmd` prints on a Raspberry Pi (raspberrypi.com/documentation/computers/os.html, "vcgencmd").

Its kernel shows temperatures and throttling in files. Rails, which a Raspberry Pi 5 measures, only this program tells.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schedulerd.control.readings import Rail
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.sysfs import optional_text
from schedulerd.control.sources.throttle import Firmware, firmware_file

PROGRAM: Final = "vcgencmd"

_TIMEOUT_S: Final = 2.0
_MEASURES_RAILS: Final = re.compile(r"Raspberry Pi (Compute Module )?5")
_THROTTLED: Final = re.compile(r"^\s*throttled=(0x[0-9a-f]+)\s*$", re.MULTILINE | re.IGNORECASE)
_CELSIUS: Final = re.compile(r"^\s*temp=(-?\d+(?:\.\d+)?)'C\s*$", re.MULTILINE)
_CLOCK: Final = re.compile(r"^\s*frequency\((\d+)\)=(\d+)\s*$", re.MULTILINE)
_VOLTS: Final = re.compile(r"^\s*volt=(\d+(?:\.\d+)?)V\s*$", re.MULTILINE)
# `VDD_CORE_A current(7)=1.42880000A` and `VDD_CORE_V volt(15)=0.90659250V`
_METER: Final = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(-?\d+(?:\.\d+)?)\2\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Vcgencmd:
    """What one or several of its answers say; of equal ones the last."""

    throttled: int | None = None
    """Bits, see `throttle.causes_of`."""
    celsius: float | None = None
    clocks_hz: Mapping[int, float] = field(default_factory=dict)
    """By the number of the clock; 48 is that of the cores."""
    volts: float | None = None
    rails: tuple[Rail, ...] = ()
    """Those of which both current and voltage are measured; none of them feeds all others."""


def parse(text: str) -> Vcgencmd:
    """Its answers, one a line. Raises ValueError where nothing in them is known, e.g. `error=1`."""
    throttled, celsius, volts = (_last(pattern, text) for pattern in (_THROTTLED, _CELSIUS, _VOLTS))
    parsed = Vcgencmd(
        throttled=None if throttled is None else int(throttled, 16),
        celsius=None if celsius is None else float(celsius),
        clocks_hz={int(clock): float(hz) for clock, hz in _CLOCK.findall(text)},
        volts=None if volts is None else float(volts),
        rails=_rails(text),
    )
    if parsed == Vcgencmd():
        raise ValueError(f"{text[:80]!r} is no answer of vcgencmd that is known")
    return parsed


class VcgencmdSource:
    """Rails of a Raspberry Pi 5. It may block for seconds: only for use in an `Aside`."""

    name = PROGRAM
    every_s = 2.0

    def __init__(self, command: Sequence[str] = (PROGRAM,), timeout_s: float = _TIMEOUT_S) -> None:
        """A source that has read nothing yet; `command`: to which `pmic_read_adc` is added."""
        self._command = (*command, "pmic_read_adc")
        self._timeout_s = timeout_s

    def read(self) -> Readings:
        """`rails`. Raises OSError where the program fails or takes too long, ValueError where it prints nonsense."""
        return {"rails": parse(_answer(self._command, self._timeout_s)).rails or None}


def instead_of_files(sys: Path = SYS, program: str = PROGRAM) -> VcgencmdSource | None:
    """A source of the rails of a Raspberry Pi 5; None for another board or where there is no such program."""
    found = shutil.which(program)
    return VcgencmdSource((found,)) if found and _MEASURES_RAILS.match(_model(sys)) else None


def firmware_program(sys: Path = SYS, program: str = PROGRAM) -> Firmware | None:
    """What asks the firmware for its bits where no file tells them; None where one does, or without the program.

    It may block for seconds: a `ThrottleSource` that is made with it is one for an `Aside`.
    """
    found = shutil.which(program)
    if found is None or firmware_file(sys) is not None:
        return None
    return lambda: parse(_answer((found, "get_throttled"), _TIMEOUT_S)).throttled


def _model(sys: Path) -> str:
    """Of the board; empty where it has no such file, or one that makes no sense: that keeps no daemon from starting."""
    try:
        return optional_text(sys / "firmware" / "devicetree" / "base" / "model") or ""
    except (OSError, ValueError):
        return ""


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found: list[str] = pattern.findall(text)
    return found[-1] if found else None


def _rails(text: str) -> tuple[Rail, ...]:
    meters = {(name, unit): float(value) for name, unit, value in _METER.findall(text)}
    return tuple(
        Rail(name, amperes * meters[name, "V"])
        for (name, unit), amperes in meters.items()
        if unit == "A" and (name, "V") in meters
    )


def _answer(command: Sequence[str], timeout_s: float) -> str:
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{command[0]} did not end within {timeout_s:g} s") from None
    if ended.returncode:
        words = (ended.stdout + ended.stderr).strip()[:200] or "no message"
        raise OSError(f"{command[0]} ended with code {ended.returncode}: {words}")
    return ended.stdout
