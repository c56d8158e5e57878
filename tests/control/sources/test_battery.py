"""Batteries: several ways to tell the same, several batteries, none, and nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Battery
from schedulerd.control.sources.battery import BatterySource
from tests.control.sources.trees import refuse, write


def add_supply(sys: Path, name: str = "BAT0", kind: str = "Battery", **files: object) -> Path:
    return write(sys / "class" / "power_supply" / name, {"type": kind, **files})


def read(sys: Path) -> Battery | None:
    battery: Battery | None = BatterySource(sys).read()["battery"]
    return battery


@pytest.mark.parametrize("power_uw", [7_250_000, -7_250_000])
def test_charge_and_power_are_read_in_shares_and_watts(tmp_path: Path, power_uw: int) -> None:
    add_supply(tmp_path, capacity=83, status="Discharging", power_now=power_uw)
    assert read(tmp_path) == Battery(0.83, discharging=True, power_w=7.25)


@pytest.mark.parametrize("current_ua", [1_500_000, -1_500_000])
def test_power_comes_from_current_and_voltage_where_it_is_not_told(tmp_path: Path, current_ua: int) -> None:
    """Drivers differ in the sign of a current that flows out."""
    add_supply(tmp_path, capacity=50, status="Charging", current_now=current_ua, voltage_now=12_000_000)
    assert read(tmp_path) == Battery(0.5, discharging=False, power_w=18.0)


@pytest.mark.parametrize("kind", ["energy", "charge"])
def test_charge_comes_from_what_it_holds_where_there_is_no_capacity(tmp_path: Path, kind: str) -> None:
    add_supply(tmp_path, status="Full", **{f"{kind}_now": 30_000_000, f"{kind}_full": 40_000_000})
    assert read(tmp_path) == Battery(0.75, discharging=False)


def test_a_gauge_that_is_a_little_off_is_full(tmp_path: Path) -> None:
    add_supply(tmp_path, energy_now=41_000_000, energy_full=40_000_000)
    assert read(tmp_path) == Battery(1.0, discharging=False)


@pytest.mark.parametrize(
    ("kind", "files"),
    [("Mains", {"online": 1}), ("Battery", {"scope": "Device", "capacity": 40}), ("Battery", {"present": 0})],
)
def test_a_charger_a_mouse_and_an_empty_slot_are_no_battery(
    tmp_path: Path, kind: str, files: dict[str, object]
) -> None:
    add_supply(tmp_path, kind=kind, **files)
    assert read(tmp_path) is None


def test_a_board_without_supplies_has_no_battery(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_two_batteries_are_one(tmp_path: Path) -> None:
    add_supply(tmp_path, "BAT0", capacity=20, status="Discharging", power_now=5_000_000)
    add_supply(tmp_path, "BAT1", capacity=80, status="Unknown", power_now=1_000_000)
    assert read(tmp_path) == Battery(0.5, discharging=True, power_w=6.0)


def test_of_two_batteries_one_of_which_tells_no_power_the_power_is_unknown(tmp_path: Path) -> None:
    add_supply(tmp_path, "BAT0", capacity=20, power_now=5_000_000)
    add_supply(tmp_path, "BAT1", capacity=80)
    assert read(tmp_path) == Battery(0.5, discharging=False, power_w=None)


def test_a_battery_that_cannot_be_read_leaves_the_other(tmp_path: Path) -> None:
    refuse(add_supply(tmp_path, "BAT0") / "capacity")
    add_supply(tmp_path, "BAT1", capacity=80)
    assert read(tmp_path) == Battery(0.8, discharging=False)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"capacity": "plenty"}, "says 'plenty'"),
        ({"capacity": -5}, "holds -5 of 100"),
        ({"capacity": 2**31 - 1}, "holds 2147483647 of 100"),
        ({"energy_now": 5, "energy_full": 0}, "holds 5 of 0"),
        ({"energy_now": 5}, "has neither capacity nor"),
        ({"capacity": 50, "power_now": "much"}, "says 'much'"),
    ],
)
def test_garbage_raises(tmp_path: Path, files: dict[str, object], reason: str) -> None:
    add_supply(tmp_path, **files)
    with pytest.raises(ValueError, match=reason):
        read(tmp_path)


def test_a_battery_that_refuses_to_be_read_is_a_reason(tmp_path: Path) -> None:
    refuse(add_supply(tmp_path) / "capacity")
    with pytest.raises(OSError, match="Is a directory"):
        read(tmp_path)
