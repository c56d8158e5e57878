"""What is left in the battery, where there is one (Documentation/ABI/testing/sysfs-class-power).

Units there are millionths: uV, uA, uW, uWh, uAh.
"""

from __future__ import annotations

from pathlib import Path

from schedulerd.control.readings import Battery
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.sysfs import each, optional_number, optional_text


class BatterySource:
    """The batteries that the board runs on, taken as one; not those of a mouse or a pen."""

    name = "battery"
    every_s = 10.0

    def __init__(self, sys: Path = SYS) -> None:
        """A source that has read nothing yet; `sys`: where sysfs is mounted."""
        self._folder = sys / "class" / "power_supply"

    def read(self) -> Readings:
        """`battery`; None where there is none. Raises OSError or ValueError where none of several can be read."""
        try:
            supplies = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return {"battery": None}
        return {"battery": _together(each(_battery, supplies))}


def _battery(supply: Path) -> Battery | None:
    if optional_text(supply / "type") != "Battery" or optional_text(supply / "scope") == "Device":
        return None
    if optional_number(supply / "present") == 0:  # an empty slot
        return None
    return Battery(_charge(supply), optional_text(supply / "status") == "Discharging", _power_w(supply))


def _charge(supply: Path) -> float:
    """Share of what it holds when full; a gauge that is not calibrated may see a little more than that."""
    percent = optional_number(supply / "capacity")
    if percent is not None:
        return _share(percent, 100, supply)
    for kind in ("energy", "charge"):
        now, full = optional_number(supply / f"{kind}_now"), optional_number(supply / f"{kind}_full")
        if now is not None and full is not None:
            return _share(now, full, supply)
    raise ValueError(f"{supply} has neither capacity nor energy_now and energy_full nor charge_now and charge_full")


def _share(now: int, full: int, supply: Path) -> float:
    if not 0 <= now <= 1.2 * full or full == 0:
        raise ValueError(f"{supply} says that it holds {now} of {full}")
    return min(1.0, now / full)


def _power_w(supply: Path) -> float | None:
    """That flows in or out; some drivers count what flows out below zero."""
    power_uw = optional_number(supply / "power_now")
    if power_uw is not None:
        return abs(power_uw) / 1e6
    current_ua, voltage_uv = optional_number(supply / "current_now"), optional_number(supply / "voltage_now")
    return None if current_ua is None or voltage_uv is None else abs(current_ua * voltage_uv) / 1e12


def _together(batteries: tuple[Battery, ...]) -> Battery | None:
    """Several batteries as one: their mean charge, and all their power where all tell it."""
    if not batteries:
        return None
    powers = [battery.power_w for battery in batteries if battery.power_w is not None]
    return Battery(
        charge=sum(battery.charge for battery in batteries) / len(batteries),
        discharging=any(battery.discharging for battery in batteries),
        power_w=sum(powers) if len(powers) == len(batteries) else None,
    )
