"""Rails of several kinds of meters, packages that count energy, and meters that refuse or make no sense."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedulerd.control.readings import Rail
from schedulerd.control.sources.power import PowerSource, has_rails
from tests.control.sources.trees import add_hwmon, refuse, write
from tests.fakes import FakeClock

DAYS_400_S = 400 * 86400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock, tmp_path: Path) -> PowerSource:
    """Of a board in `tmp_path`, which has no rails yet."""
    return PowerSource(clock, tmp_path)


def add_jetson(sys: Path) -> Path:
    """The power monitor of an Orin Nano, with the shunts and the sum that its driver adds."""
    channels: dict[str, object] = {}
    for channel, (label, mv, ma) in enumerate((("VDD_IN", 5000, 900), ("VDD_CPU", 5000, 100), ("NC", 0, 0)), 1):
        channels |= {f"in{channel}_label": label, f"in{channel}_input": mv, f"curr{channel}_input": ma}
    return add_hwmon(sys, 1, "ina3221", **channels, in4_input=9000, curr4_input=1000)


def add_package(sys: Path, energy_uj: object, name: str = "package-0", number: int = 0) -> Path:
    zone = sys / "class" / "powercap" / f"intel-rapl:{number}"
    write(zone, {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": 262_143_328_850})
    write(zone / f"intel-rapl:{number}:0", {"name": "core", "energy_uj": energy_uj})
    return zone / "energy_uj"


def test_a_board_without_meters_is_none_and_no_error(tmp_path: Path, source: PowerSource) -> None:
    assert source.read() == {"rails": None, "power_w": None}
    assert not has_rails(tmp_path)


def test_voltage_times_current_is_power_and_the_input_that_of_the_board(tmp_path: Path, source: PowerSource) -> None:
    add_jetson(tmp_path)
    assert source.read() == {"rails": (Rail("VDD_IN", 4.5), Rail("VDD_CPU", 0.5)), "power_w": 4.5}
    assert has_rails(tmp_path)


def test_rails_beside_each_other_are_not_the_board(tmp_path: Path, source: PowerSource) -> None:
    """On an AGX Orin the 5 V rail draws less than the processors, which it does not feed."""
    add_hwmon(tmp_path, 0, "ina3221", in1_label="VDD_GPU_SOC", in1_input=20000, curr1_input=140)
    device = tmp_path / "class" / "hwmon" / "hwmon0"
    write(device, {"in3_label": "VIN_SYS_5V0", "in3_input": 5000, "curr3_input": 640})
    assert source.read() == {"rails": (Rail("VDD_GPU_SOC", 2.8), Rail("VIN_SYS_5V0", 3.2)), "power_w": None}


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path: Path, source: PowerSource) -> None:
    write(add_jetson(tmp_path), {"in2_enable": 0})
    assert source.read()["rails"] == (Rail("VDD_IN", 4.5),)


def test_other_meters_tell_the_power_itself(tmp_path: Path, source: PowerSource) -> None:
    add_hwmon(tmp_path, 0, "ina238", power1_input=23_500_000, power1_label="VIN")
    add_hwmon(tmp_path, 1, "ina226", power1_input=1_500_000)
    add_hwmon(tmp_path, 2, "cpu_thermal", temp1_input=40000)
    assert source.read() == {"rails": (Rail("VIN", 23.5), Rail("ina226", 1.5)), "power_w": 23.5}


def test_the_meters_of_older_jetsons_tell_it_in_milliwatts(tmp_path: Path, source: PowerSource) -> None:
    device = tmp_path / "bus" / "i2c" / "drivers" / "ina3221x" / "6-0040" / "iio:device0"
    write(device, {"rail_name_0": "POM_5V_IN", "in_power0_input": 2875})
    write(device, {"rail_name_1": "POM_5V_GPU", "in_power1_input": 82})
    assert source.read() == {"rails": (Rail("POM_5V_IN", 2.875), Rail("POM_5V_GPU", 0.082)), "power_w": 2.875}


def test_a_current_that_flows_back_is_below_zero(tmp_path: Path, source: PowerSource) -> None:
    write(add_jetson(tmp_path), {"curr2_input": -4})
    assert source.read()["rails"] == (Rail("VDD_IN", 4.5), Rail("VDD_CPU", -0.02))


@pytest.mark.parametrize("nonsense", ["garbage", "", "1000000000"])
def test_a_rail_that_makes_no_sense_is_left_out(tmp_path: Path, source: PowerSource, nonsense: str) -> None:
    write(add_jetson(tmp_path), {"curr1_input": nonsense})
    assert source.read() == {"rails": (Rail("VDD_CPU", 0.5),), "power_w": None}


def test_a_rail_that_refuses_is_left_out(tmp_path: Path, source: PowerSource) -> None:
    refuse(add_jetson(tmp_path) / "in2_input")
    assert source.read()["rails"] == (Rail("VDD_IN", 4.5),)


def test_where_no_rail_can_be_read_the_reason_is_raised(tmp_path: Path, source: PowerSource) -> None:
    add_hwmon(tmp_path, 0, "ina226", power1_input=10**12)
    with pytest.raises(ValueError, match=r"ina226 draws 1e\+06 W, expected at most 10000"):
        source.read()


def test_a_meter_that_vanishes_after_it_was_listed_is_left_out(tmp_path: Path, source: PowerSource) -> None:
    add_hwmon(tmp_path, 0, "ina226", power1_input=1_500_000)
    device = add_jetson(tmp_path)
    source.read()
    shutil.rmtree(device)
    assert source.read() == {"rails": (Rail("ina226", 1.5),), "power_w": None}


def test_a_package_draws_the_energy_between_two_reads(tmp_path: Path, clock: FakeClock, source: PowerSource) -> None:
    energy = add_package(tmp_path, 1_000_000)
    assert source.read() == {"rails": None, "power_w": None}, "one reading is no power"
    clock.advance(2.0)
    energy.write_text("31000000\n")
    assert source.read() == {"rails": (Rail("package-0", 15.0),), "power_w": None}


def test_the_platform_is_the_board(tmp_path: Path, clock: FakeClock, source: PowerSource) -> None:
    energy = add_package(tmp_path, 0, "psys", number=1)
    source.read()
    clock.advance(1.0)
    energy.write_text("42000000\n")
    assert source.read()["power_w"] == 42.0


def test_a_counter_that_wraps_goes_on(tmp_path: Path, clock: FakeClock, source: PowerSource) -> None:
    energy = add_package(tmp_path, 262_143_328_850 - 4_000_000)
    source.read()
    clock.advance(1.0)
    energy.write_text("6000000\n")
    assert source.read()["rails"] == (Rail("package-0", 10.0),)


@pytest.mark.parametrize("jump_s", [DAYS_400_S, -DAYS_400_S, 0.0])
def test_after_a_clock_that_jumps_by_400_days_or_stands_still_it_starts_anew(
    tmp_path: Path, clock: FakeClock, source: PowerSource, jump_s: float
) -> None:
    energy = add_package(tmp_path, 0)
    source.read()
    clock.advance(jump_s)
    assert source.read()["rails"] is None
    clock.advance(1.0)
    energy.write_text("5000000\n")
    assert source.read()["rails"] == (Rail("package-0", 5.0),)


def test_a_counter_that_is_for_root_alone_is_a_reason_and_other_rails_stand(tmp_path: Path, clock: FakeClock) -> None:
    refuse(add_package(tmp_path, 0))
    with pytest.raises(OSError, match="energy_uj"):
        PowerSource(clock, tmp_path).read()
    add_jetson(tmp_path)
    assert PowerSource(clock, tmp_path).read()["power_w"] == 4.5


@pytest.mark.parametrize("nonsense", ["garbage", "999999999999999999"])
def test_energy_that_makes_no_sense_is_a_reason(
    tmp_path: Path, clock: FakeClock, source: PowerSource, nonsense: str
) -> None:
    energy = add_package(tmp_path, 0)
    source.read()
    clock.advance(1.0)
    energy.write_text(nonsense + "\n")
    with pytest.raises(ValueError, match=r"says 'garbage'|expected at most 10000"):
        source.read()
