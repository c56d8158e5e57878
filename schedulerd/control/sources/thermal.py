"""How hot the board is, and where the kernel acts: thermal zones (Documentation/driver-api/thermal/sysfs-api).

Temperatures there are thousandths of a degree Celsius.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Trip, Zone
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.seldom import Seldom
from schedulerd.control.sources.sysfs import each, number, numbered, text

COLDEST, HOTTEST = -100.0, 250.0
"""Degrees Celsius that a sensor of a running board can measure; one that has none to give says e.g. -273.2 or -256."""

_CONSTANT: Final = ("PMIC-Die",)
"""Zones of Jetson Nano, TX2 and Xavier that say 50 or 100 degrees whatever the board does."""


class _Known(NamedTuple):
    """What hardly changes of a zone."""

    number: int
    name: str
    temperature: Path
    trips: tuple[Trip, ...]


class ThermalSource:
    """Temperatures of all zones that have one now. Which zones there are, and their trip points, is read seldom.

    Heat takes seconds to build up, and a look at a zone may be a message to another processor: twice a second will do.
    """

    name = "thermal"
    every_s = 0.5

    def __init__(self, clock: Clock, sys: Path = SYS) -> None:
        """A source that has read nothing yet; `sys`: where sysfs is mounted."""
        folder = sys / "class" / "thermal"
        self._zones = Seldom(clock, lambda: _zones(folder))

    def read(self) -> Readings:
        """`zones`, by their numbers in the kernel; None where the board has none.

        A zone that is off (EAGAIN, EINVAL, ENODATA), that vanished or makes no sense is left out; raises OSError or
        ValueError only where that leaves none.
        """
        return {"zones": each(_read, self._zones.get()) or None}


def has_zones(sys: Path) -> bool:
    """Whether the kernel shows thermal zones at all."""
    return bool(numbered(sys / "class" / "thermal", "thermal_zone"))


def plausible(celsius: float, where: object) -> float:
    """The same temperature. Raises ValueError where no sensor measures that."""
    if not COLDEST <= celsius <= HOTTEST:
        raise ValueError(f"{where} says {celsius:g} degrees Celsius, expected {COLDEST:g} to {HOTTEST:g}")
    return celsius


def _read(known: _Known) -> Zone:
    return Zone(known.name, plausible(number(known.temperature) / 1000, known.temperature), known.trips)


def _zones(folder: Path) -> list[_Known]:
    """All zones, each with a name of its own: a trend is of one zone, and types repeat (`acpitz`)."""
    zones = each(_known, numbered(folder, "thermal_zone"))
    times = Counter(zone.name for zone in zones)
    return [zone._replace(name=f"{zone.name}:{zone.number}") if times[zone.name] > 1 else zone for zone in zones]


def _known(numbered_zone: tuple[int, Path]) -> _Known | None:
    zone, folder = numbered_zone
    kind = text(folder / "type")
    return None if kind in _CONSTANT else _Known(zone, kind, folder / "temp", _trips(folder))


def _trips(folder: Path) -> tuple[Trip, ...]:
    """Trip points by rising temperature, without those that make no sense or are not set."""
    found = [_trip(folder, entry.name) for entry in folder.glob("trip_point_*_type")]
    return tuple(sorted((trip for trip in found if trip is not None), key=lambda trip: (trip.celsius, trip.kind)))


def _trip(folder: Path, type_name: str) -> Trip | None:
    try:
        celsius = number(folder / type_name.replace("_type", "_temp")) / 1000
        # 0 is how x86_pkg_temp and others say that a trip point is not set, far below 0 how the thermal core does.
        return Trip(text(folder / type_name), celsius) if 0 < celsius <= HOTTEST else None
    except (OSError, ValueError):
        return None
