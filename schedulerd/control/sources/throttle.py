"""What holds the clocks down at this moment, from whatever the board has to say about it.

- Raspberry Pi: the firmware's bits (`get_throttled` in raspberrypi.com/documentation/computers/os.html), in a file of
  its kernel, by a program otherwise; a kernel.org kernel shows under-voltage alone, of the hwmon device `rpi_volt`
  (Documentation/hwmon/raspberrypi-hwmon).
- Jetson: events of the over-current protection, `oc*_event_cnt` of the hwmon device `soctherm_oc` (Jetson Linux
  Developer Guide, Platform Power and Performance). Which of them is for too low a voltage differs between generations.
- Intel: `core_throttle_count` (Documentation/ABI/testing/sysfs-devices-system-cpu).
- All: cooling devices that slow processors down (Documentation/driver-api/thermal/sysfs-api), and cpufreq.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Throttle
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.clocks import MOST, Policy, clock_share, is_limited, policies
from schedulerd.control.sources.seldom import Seldom
from schedulerd.control.sources.sysfs import each, number, numbered, optional_number, optional_text

Firmware = Callable[[], int | None]
"""The bits of `get_throttled`; None where the board has no such firmware."""

_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_SINCE_BOOT: Final = 16
"""Bits from here on say the same of any time since the board started, or since they were read."""

_SLOWS_PROCESSORS: Final = ("cpufreq", "thermal-cpufreq", "devfreq", "thermal-devfreq", "Processor")
"""How the types of cooling devices begin that lower clocks; others turn fans."""


class _Sign(NamedTuple):
    """A file with a number that shows a cause: while it is above 0, or, of a counter, when it has risen."""

    path: Path
    cause: str
    counts: bool = False


class _Board(NamedTuple):
    """Where this board has signs."""

    firmware: Path | None
    signs: list[_Sign]
    policies: list[Policy]


class ThrottleSource:
    """Causes and extent of throttling. Where a board has signs is looked up seldom."""

    name = "throttle"

    def __init__(self, clock: Clock, sys: Path = SYS, firmware: Firmware | None = None) -> None:
        """A source that has read nothing yet.

        Args:
            clock: tells when to look for signs again.
            sys: where sysfs is mounted.
            firmware: asks a Raspberry Pi's firmware; None reads the file of its kernel. One that may block makes
                this a source to be read aside, and one that runs a program costs more than to be asked often.
        """
        self.every_s = 0.5 if firmware is None else 2.0
        self._board = Seldom(clock, lambda: _Board(firmware_file(sys), list(_signs(sys)), policies(sys)))
        self._firmware = firmware
        self._bits: int | None = None
        self._counts: dict[Path, int] = {}

    def read(self) -> Readings:
        """`throttle`; None where the board has nothing to say.

        Raises OSError or ValueError where it has, and that can't be read: then nobody knows that nothing throttles.
        """
        board = self._board.get()
        bits = self._firmware() if self._firmware else _bits(board.firmware)
        if bits is None and not board.signs and not board.policies:
            return {"throttle": None}
        causes = {*self._of_firmware(bits), *each(self._cause, board.signs)}
        if "heat" not in causes and any(is_limited(policy) for policy in board.policies):
            causes.add("cap")  # with heat, it is the heat that sets the limit
        shares = [share for policy in board.policies if (share := clock_share(policy)) is not None]
        return {"throttle": Throttle(tuple(sorted(causes - {""})), min(shares, default=None))}

    def _of_firmware(self, bits: int | None) -> set[str]:
        before, self._bits = self._bits, bits
        return set() if bits is None else causes_of(bits, bits if before is None else before)

    def _cause(self, sign: _Sign) -> str:
        """The cause, if the sign shows it now; a counter that was set back or wrapped has not risen."""
        value = number(sign.path)
        before = self._counts.get(sign.path, value) if sign.counts else 0
        self._counts[sign.path] = value
        return sign.cause if value > before else ""


def causes_of(bits: int, before: int) -> set[str]:
    """Causes in the bits of `get_throttled`: those of now, and those of times since `before` was read.

    The firmware lowers clocks (bit 2) for heat and for a low voltage; it is heat where the voltage is not low.
    """
    now = bits | (bits & ~before) >> _SINCE_BOOT
    causes = {"voltage"} if now & _UNDER_VOLTAGE else set()
    if now & _SOFT_LIMIT or (now & _THROTTLED and not now & _UNDER_VOLTAGE):
        causes.add("heat")
    if now & _CAPPED and not causes:
        causes.add("cap")
    return causes


def firmware_file(sys: Path) -> Path | None:
    """Where a Raspberry Pi's kernel shows the firmware's bits; None where it does not, and on other boards."""
    return next((sys / "devices" / "platform").glob("soc*/soc*:firmware/get_throttled"), None)


def _bits(path: Path | None) -> int | None:
    """The file has them in hexadecimal, without a prefix."""
    return None if path is None else number(path, 16)


def _signs(sys: Path) -> Iterator[_Sign]:
    for _, device in numbered(sys / "class" / "hwmon", "hwmon"):
        yield from _signs_of(device, optional_text(device / "name") or "")
    for _, cooler in numbered(sys / "class" / "thermal", "cooling_device"):
        if (optional_text(cooler / "type") or "").startswith(_SLOWS_PROCESSORS):
            yield _Sign(cooler / "cur_state", "heat")
    for _, cpu in numbered(sys / "devices" / "system" / "cpu", "cpu")[:MOST]:
        if (path := cpu / "thermal_throttle" / "core_throttle_count").exists():
            yield _Sign(path, "heat", counts=True)


def _signs_of(device: Path, name: str) -> Iterator[_Sign]:
    """Of one hwmon device."""
    if name == "rpi_volt":
        yield _Sign(device / "in0_lcrit_alarm", "voltage")
    elif name.endswith("_oc"):
        for path in sorted(device.glob("oc*_event_cnt")):
            if optional_number(path.with_name(path.name.replace("event_cnt", "throt_en"))) != 0:
                yield _Sign(path, "current", counts=True)
