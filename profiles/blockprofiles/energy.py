"""Energy of blocks, where the board has a sensor: RAPL, the INA monitors of Jetson boards, the power chip of the Pi 5.

Sensors are slow beside a block, so a route is run over and over for `PERIOD_S`, and the mean power above that of the
idle board is taken. Where no sensor can be read there is no figure.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from blockprofiles.pseudofile import read_text

SYS: Final = Path("/sys")
PERIOD_S: Final = 0.5
"""Of running, and of idling."""
_SAMPLE_EVERY_S: Final = 0.02
_TOTAL_RAILS: Final = ("VDD_IN", "POM_5V_IN", "5V_IN")
"""Rails of Jetson boards that feed all others; a board without one has rails that stand side by side."""
_PMIC_COMMAND: Final = ("vcgencmd", "pmic_read_adc")
_PMIC_TIMEOUT_S: Final = 2.0
_PMIC_LINE: Final = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$")


class Sensor(Protocol):
    """Measures the power of the board, or of its processor."""

    def mean_power_w(self, during: Callable[[], object]) -> float | None:
        """While `during` runs; None where the sensor failed."""
        ...


@dataclass(frozen=True, slots=True)
class Rapl:
    """Counters of energy (Documentation/power/powercap/powercap.rst); only root may read them on most systems."""

    zones: tuple[Path, ...]
    """Packages and their memory: no zone within another one that is here."""
    now: Callable[[], float]

    def mean_power_w(self, during: Callable[[], object]) -> float | None:
        """See `Sensor`. Periods are far shorter than a wrap of the counter takes (minutes)."""
        try:
            before, began_s = self._read_uj(), self.now()
            during()
            after, passed_s = self._read_uj(), self.now() - began_s
            used_uj = sum(map(self._passed_uj, self.zones, before, after))
        except (OSError, ValueError):
            return None
        return used_uj / 1e6 / passed_s if passed_s > 0 else None

    def _read_uj(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self.zones]

    def _passed_uj(self, zone: Path, before: int, after: int) -> int:
        if after >= before:
            return after - before
        return after - before + int((zone / "max_energy_range_uj").read_text())


@dataclass(frozen=True, slots=True)
class Gauge:
    """A sensor that gives the power of an instant: it is read by a thread while something runs."""

    power_w: Callable[[], float]
    """Raises OSError or ValueError where it cannot be read."""
    every_s: float = _SAMPLE_EVERY_S

    def mean_power_w(self, during: Callable[[], object]) -> float | None:
        """See `Sensor`."""
        readings: list[float] = []
        ended = threading.Event()
        reader = threading.Thread(target=self._sample, args=(readings, ended), name="power", daemon=True)
        reader.start()
        try:
            during()
        finally:
            ended.set()
            reader.join()
        return sum(readings) / len(readings) if readings else None

    def _sample(self, readings: list[float], ended: threading.Event) -> None:
        try:
            while True:
                readings.append(self.power_w())
                if ended.wait(self.every_s):
                    return
        except (OSError, ValueError, subprocess.SubprocessError):
            readings.clear()


def find_sensor(now: Callable[[], float], sys: Path = SYS, pmic: Callable[[], str] | None = None) -> Sensor | None:
    """A sensor of this board that can be read; None where there is none.

    Args: now: seconds, as of `time.perf_counter`; sys: root of sysfs(5); pmic: gives what `vcgencmd pmic_read_adc`
    prints, None to run it.
    """
    zones = tuple(_rapl_zones(sys))
    if zones:
        return Rapl(zones, now)
    rails = _ina_rails(sys)
    if rails:
        return Gauge(lambda: sum(rail.power_w() for rail in rails))
    read = pmic or _read_pmic
    try:
        pmic_power_w(read())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Gauge(lambda: pmic_power_w(read()))


@dataclass(frozen=True, slots=True)
class Rail:
    """One channel of an INA monitor in hwmon (Documentation/hwmon/ina3221.rst): mV and mA."""

    label: str
    voltage: Path
    current: Path

    def power_w(self) -> float:
        """Now; OSError or ValueError where it cannot be read."""
        return int(self.voltage.read_text()) * int(self.current.read_text()) / 1e6


def pmic_power_w(text: str) -> float:
    """Power of all rails that `vcgencmd pmic_read_adc` names with both a current and a voltage; ValueError if none.

    What hangs on the 5 V input itself (USB devices, a HAT) is on none of them.
    """
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        match = _PMIC_LINE.match(line)
        if match:
            found[match[1], match[2]] = float(match[3])
    rails = {rail for rail, _ in found if (rail, "A") in found and (rail, "V") in found}
    if not rails:
        raise ValueError(f"no rail has both a current and a voltage in {text[:80]!r}")
    return sum(found[rail, "A"] * found[rail, "V"] for rail in rails)


def idle_power_w(sensor: Sensor) -> float | None:
    """Power of the board while this process sleeps; None where the sensor fails."""
    return sensor.mean_power_w(lambda: threading.Event().wait(PERIOD_S))


def running_power_w(sensor: Sensor, run: Callable[[], object], now: Callable[[], float]) -> float | None:
    """Power of the board while `run` is run over and over; None where the sensor fails."""

    def for_a_period() -> None:
        end_s = now() + PERIOD_S
        while now() < end_s:
            run()

    return sensor.mean_power_w(for_a_period)


def _rapl_zones(sys: Path) -> Iterator[Path]:
    """`package-N` and the `dram` of each, if they can be read; cores and graphics are within the package."""
    root = sys / "class/powercap"
    for zone in sorted(root.glob("intel-rapl:*")):
        name = read_text(zone / "name") or ""
        if (name.startswith("package") or name == "dram") and read_text(zone / "energy_uj") is not None:
            yield zone


def _ina_rails(sys: Path) -> Sequence[Rail]:
    rails = {rail.label: rail for rail in _all_rails(sys)}
    total = next((rails[label] for label in _TOTAL_RAILS if label in rails), None)
    return (total,) if total else tuple(rails.values())


def _all_rails(sys: Path) -> Iterator[Rail]:
    for monitor in sorted((sys / "class/hwmon").glob("hwmon*")):
        if not (read_text(monitor / "name") or "").startswith("ina"):
            continue
        for voltage in sorted(monitor.glob("in*_input")):
            number = voltage.name.removeprefix("in").removesuffix("_input")
            current = monitor / f"curr{number}_input"
            if current.exists() and read_text(voltage) is not None:
                label = read_text(monitor / f"in{number}_label") or f"{monitor.name} channel {number}"
                yield Rail(label, voltage, current)


def _read_pmic() -> str:
    """What `vcgencmd pmic_read_adc` prints; OSError where there is no such program."""
    done = subprocess.run(_PMIC_COMMAND, capture_output=True, text=True, timeout=_PMIC_TIMEOUT_S, check=True)
    return done.stdout
