"""Power from trees and recordings of boards that have a sensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blockprofiles.energy import Gauge, Rapl, find_sensor, idle_power_w, pmic_power_w, running_power_w
from tests.profiles.scripted import Clock

SHARED = Path(__file__).resolve().parents[3] / "shared/data/hardware/rpi/rpi5_vcgencmd_pmic_read_adc.txt"


def put(path: Path, text: str) -> None:
    """Write a file and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def no_pmic() -> str:
    """A board without `vcgencmd`."""
    raise FileNotFoundError("vcgencmd")


def rapl(root: Path, *zones: tuple[str, str, int]) -> None:
    """Zones by folder, name and micro-joules."""
    for folder, name, uj in zones:
        put(root / "class/powercap" / folder / "name", name)
        put(root / "class/powercap" / folder / "energy_uj", str(uj))
        put(root / "class/powercap" / folder / "max_energy_range_uj", "1000000000")


def test_packages_and_their_memory_are_counted_and_what_is_within_them_is_not(tmp_path: Path) -> None:
    """`core` is part of a package, and `psys` holds all of it."""
    names = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}
    clock = Clock()
    rapl(tmp_path, *((folder, name, 0) for folder, name in names.items()))
    sensor = find_sensor(clock, tmp_path, no_pmic)
    assert sensor is not None

    def during() -> None:
        clock.now_s += 2.0
        rapl(tmp_path, *((folder, name, 5_000_000) for folder, name in names.items()))

    assert sensor.mean_power_w(during) == pytest.approx(5.0)


def test_a_counter_that_wraps_goes_on_from_nought(tmp_path: Path) -> None:
    """At `max_energy_range_uj`, here 1000 J."""
    clock = Clock()
    rapl(tmp_path, ("intel-rapl:0", "package-0", 999_000_000))
    sensor = Rapl((tmp_path / "class/powercap/intel-rapl:0",), clock)

    def during() -> None:
        clock.now_s += 1.0
        rapl(tmp_path, ("intel-rapl:0", "package-0", 2_000_000))

    assert sensor.mean_power_w(during) == pytest.approx(3.0)


def test_a_counter_that_vanishes_gives_no_figure(tmp_path: Path) -> None:
    """Rather than a wrong one."""
    clock = Clock()
    rapl(tmp_path, ("intel-rapl:0", "package-0", 1))
    zone = tmp_path / "class/powercap/intel-rapl:0"
    assert Rapl((zone,), clock).mean_power_w((zone / "energy_uj").unlink) is None


def ina(root: Path, number: int, *channels: tuple[str, int, int]) -> None:
    """A monitor with channels of a label, mV and mA each."""
    folder = root / f"class/hwmon/hwmon{number}"
    put(folder / "name", "ina3221")
    for channel, (label, millivolts, milliamperes) in enumerate(channels, start=1):
        put(folder / f"in{channel}_label", label)
        put(folder / f"in{channel}_input", str(millivolts))
        put(folder / f"curr{channel}_input", str(milliamperes))


def mean_power_w(root: Path) -> float | None:
    """Of the board under this root, while nothing happens."""
    sensor = find_sensor(Clock(), root, no_pmic)
    return None if sensor is None else sensor.mean_power_w(lambda: None)


def test_the_rail_that_feeds_all_others_is_the_board(tmp_path: Path) -> None:
    """Orin Nano: `VDD_IN` is the input."""
    ina(tmp_path, 1, ("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 500), ("VDD_SOC", 5000, 300))
    assert mean_power_w(tmp_path) == pytest.approx(6.0)


def test_rails_side_by_side_add_up(tmp_path: Path) -> None:
    """AGX Orin has two monitors and no rail for all; a voltage without a current is not a rail, nor is a fan."""
    ina(tmp_path, 3, ("VDD_GPU_SOC", 20000, 100), ("VDD_CPU_CV", 20000, 50))
    ina(tmp_path, 4, ("VIN_SYS_5V0", 5000, 400))
    put(tmp_path / "class/hwmon/hwmon4/in7_input", "3")
    put(tmp_path / "class/hwmon/hwmon5/name", "pwmfan")
    assert mean_power_w(tmp_path) == pytest.approx(5.0)


PMIC = """ 3V7_WL_SW_A current(0)=0.10000000A
  VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.70000000V
  VDD_CORE_V volt(15)=0.80000000V
      EXT5V_V volt(24)=5.10000000V
       BATT_V volt(25)=0.00000000V
"""


def test_the_power_chip_of_the_pi_tells_each_rail(tmp_path: Path) -> None:
    """Those with a voltage and a current; the input has no current."""
    sensor = find_sensor(Clock(), tmp_path, lambda: PMIC)
    assert sensor is not None
    assert sensor.mean_power_w(lambda: None) == pytest.approx(0.37 + 1.6)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is absent")
def test_a_recording_of_a_real_pi_makes_sense() -> None:
    """An idle Pi 5 takes 2 to 4 W, of which its rails have most."""
    assert 0.5 < pmic_power_w(SHARED.read_text()) < 6


def fails_with(error: Exception) -> Callable[[], str]:
    """Something that cannot be read."""

    def read() -> str:
        raise error

    return read


@pytest.mark.parametrize("read", [no_pmic, lambda: "error=1", fails_with(PermissionError("vcio"))])
def test_a_board_without_a_sensor_has_none(tmp_path: Path, read: Callable[[], str]) -> None:
    """No program, one that says something else, one that may not be run."""
    assert find_sensor(Clock(), tmp_path, read) is None


def test_counters_that_may_not_be_read_are_no_sensor(tmp_path: Path) -> None:
    """Here a folder in place of the file: the superuser may read any file."""
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)
    put(tmp_path / "class/powercap/intel-rapl:0/name", "package-0")
    assert find_sensor(Clock(), tmp_path, no_pmic) is None


def test_a_gauge_that_fails_on_the_way_gives_no_figure() -> None:
    """Not the mean of what came before."""
    readings = iter([4.0])

    def read() -> float:
        try:
            return next(readings)
        except StopIteration:
            raise OSError("unplugged") from None

    assert Gauge(read, every_s=0.0).mean_power_w(lambda: idle_power_w(Gauge(lambda: 1.0))) is None


def test_a_route_is_run_for_long_enough_for_a_slow_sensor() -> None:
    """Over and over."""
    clock = Clock()
    runs = []

    def run() -> None:
        clock.now_s += 0.01
        runs.append(clock())

    assert running_power_w(Gauge(lambda: 7.0), run, clock) == 7.0
    assert len(runs) >= 50
