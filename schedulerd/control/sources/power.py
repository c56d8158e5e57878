"""What the board draws, by its rails.

- Voltages and currents of an INA3221 (Documentation/hwmon/ina3221, in mV and mA), as on Jetson since Jetson Linux 34,
  and powers of other meters (Documentation/hwmon/sysfs-interface, in uW).
- `ina3221x` of Jetson Linux 32 and before, in mW (its Developer Guide, "Power Monitor Information").
- Energy counters of x86 packages (Documentation/power/powercap, in uJ), which since 2020 only root may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Rail
from schedulerd.control.sources.base import SYS, Readings
from schedulerd.control.sources.seldom import Seldom
from schedulerd.control.sources.sysfs import each, number, numbered, optional_number, optional_text, text

_WHOLE_BOARD: Final = ("VDD_IN", "POM_5V_IN", "VDD_TOTAL", "VIN", "psys")
"""Rails that feed all others. `VIN_SYS_5V0` of AGX Orin is none: it is beside those of the processors."""

_CHANNELS: Final = range(1, 4)
"""Of an INA3221. Its in4 to in7 are the voltages at its shunts, and curr4 is a sum."""

_MOST_W: Final = 10_000.0
_LONGEST_S: Final = 60.0
"""Over which the energy of a package is compared: the counters of some wrap within minutes."""

Meter = Callable[[], Rail | None]
"""Reads one rail now. None where there is no reading yet; raises OSError, or ValueError for what makes no sense."""


class _Joules(NamedTuple):
    """A reading of an energy counter."""

    at_s: float
    uj: int


class PowerSource:
    """Power of all rails that the board measures. Which there are is looked up seldom."""

    name = "power"
    every_s = 1.0

    def __init__(self, clock: Clock, sys: Path = SYS) -> None:
        """A source that has read nothing yet; `sys`: where sysfs is mounted."""
        self._clock = clock
        self._energies: dict[Path, _Joules] = {}
        self._meters = Seldom(clock, lambda: [*_meters(sys), *self._packages(sys)])

    def read(self) -> Readings:
        """`rails`, and as `power_w` the one that feeds all others; None where there is none.

        Raises OSError or ValueError where no rail of those that there are can be read.
        """
        rails = each(lambda meter: meter(), self._meters.get())
        return {"rails": rails or None, "power_w": whole_board_w(rails)}

    def _packages(self, sys: Path) -> Iterator[Meter]:
        """Counters of packages; those of their parts (`intel-rapl:0:1`) are in there already."""
        for _, zone in numbered(sys / "class" / "powercap", "intel-rapl:"):
            yield partial(self._package, zone)

    def _package(self, zone: Path) -> Rail | None:
        """Mean power since the read before; None at the first."""
        now = _Joules(self._clock.now_s(), number(zone / "energy_uj"))
        before = self._energies.get(zone)
        self._energies[zone] = now
        if before is None or not 0 < now.at_s - before.at_s <= _LONGEST_S:
            return None
        used_uj = now.uj - before.uj
        if used_uj < 0:
            used_uj += number(zone / "max_energy_range_uj")
        return _rail(text(zone / "name"), used_uj / 1e6 / (now.at_s - before.at_s), zone)


def whole_board_w(rails: tuple[Rail, ...]) -> float | None:
    """Power of the rail that feeds all others, None where there is none among them."""
    return next((rail.power_w for name in _WHOLE_BOARD for rail in rails if rail.name == name), None)


def has_rails(sys: Path) -> bool:
    """Whether the kernel shows rails of the board, whether or not they can be read now."""
    return next(_meters(sys), None) is not None


def _meters(sys: Path) -> Iterator[Meter]:
    for _, device in numbered(sys / "class" / "hwmon", "hwmon"):
        yield from _hwmon(device, optional_text(device / "name") or "")
    for device in sorted((sys / "bus" / "i2c" / "drivers" / "ina3221x").glob("*/iio:device*")):
        for _, label in numbered(device, "rail_name_"):
            yield partial(_old_channel, device, label)


def _hwmon(device: Path, name: str) -> Iterator[Meter]:
    """Of one device: channels with a power, and of an INA3221, which has none, those with a voltage and a current."""
    for path in sorted(device.glob("power*_input")):
        label = optional_text(path.with_name(path.name.replace("_input", "_label"))) or name
        yield partial(_power, path, label)
    if name == "ina3221":
        for channel in _CHANNELS:
            label = optional_text(device / f"in{channel}_label") or f"{name}_{channel}"
            # Switched off, by hand or because nothing is connected to it.
            if label != "NC" and optional_number(device / f"in{channel}_enable") != 0:
                yield partial(_channel, device, channel, label)


def _power(path: Path, name: str) -> Rail:
    return _rail(name, number(path) / 1e6, path)


def _channel(device: Path, channel: int, name: str) -> Rail:
    voltage_mv, current_ma = number(device / f"in{channel}_input"), number(device / f"curr{channel}_input")
    return _rail(name, voltage_mv * current_ma / 1e6, device)


def _old_channel(device: Path, label: Path) -> Rail:
    channel = label.name.removeprefix("rail_name_")
    return _rail(text(label), number(device / f"in_power{channel}_input") / 1e3, device)


def _rail(name: str, power_w: float, where: Path) -> Rail:
    """A rail may give a little back, as far as its meter is off; none draws kilowatts."""
    if abs(power_w) > _MOST_W:
        raise ValueError(f"{where} says that {name} draws {power_w:g} W, expected at most {_MOST_W:g}")
    return Rail(name, power_w)
