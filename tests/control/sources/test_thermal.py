"""Thermal zones: hot, cold, off, gone, garbled, and many."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedulerd.control.monitor import Monitor
from schedulerd.control.readings import Rail, Throttle, Trip, Zone
from schedulerd.control.sources.battery import BatterySource
from schedulerd.control.sources.power import PowerSource
from schedulerd.control.sources.seldom import LAYOUT_S
from schedulerd.control.sources.thermal import ThermalSource, has_zones
from schedulerd.control.sources.throttle import ThrottleSource
from tests.control.sources.trees import add_hwmon, add_policy, add_zone, refuse
from tests.fakes import FakeClock

DAYS_400_S = 400 * 86400.0


@pytest.fixture
def source(tmp_path: Path) -> ThermalSource:
    """Of a board in `tmp_path`, which has no zones yet."""
    return ThermalSource(FakeClock(), tmp_path)


def names(source: ThermalSource) -> list[str]:
    return [zone.name for zone in source.read()["zones"] or ()]


def test_zones_have_their_temperature_and_their_trips_by_rising_temperature(
    tmp_path: Path, source: ThermalSource
) -> None:
    add_zone(tmp_path, 0, "cpu-thermal", 53500, critical=110000, passive=85000, hot=80000)
    trips = (Trip("hot", 80.0), Trip("passive", 85.0), Trip("critical", 110.0))
    assert source.read() == {"zones": (Zone("cpu-thermal", 53.5, trips),)}


def test_zones_come_by_number_and_not_by_the_alphabet(tmp_path: Path, source: ThermalSource) -> None:
    for number in (10, 2, 0):
        add_zone(tmp_path, number, f"zone-{number}", 40000)
    assert names(source) == ["zone-0", "zone-2", "zone-10"]


def test_below_zero_is_a_temperature(tmp_path: Path, source: ThermalSource) -> None:
    add_zone(tmp_path, 0, "ambient", -40000)
    assert source.read()["zones"] == (Zone("ambient", -40.0),)


def test_no_zones_are_none_and_no_error(tmp_path: Path, source: ThermalSource) -> None:
    assert source.read() == {"zones": None}
    assert not has_zones(tmp_path)


@pytest.mark.parametrize("nonsense", ["garbage", "", "-273200", "1000000000", "\x00\x00", "45.5"])
def test_a_zone_that_makes_no_sense_is_left_out(tmp_path: Path, source: ThermalSource, nonsense: str) -> None:
    add_zone(tmp_path, 0, "broken", nonsense)
    add_zone(tmp_path, 1, "sound", 40000)
    assert names(source) == ["sound"]


def test_bytes_that_are_no_text_are_nonsense_too(tmp_path: Path, source: ThermalSource) -> None:
    (add_zone(tmp_path, 0, "broken", "") / "temp").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match=r"thermal_zone0/temp holds bytes that are no text"):
        source.read()


def test_a_zone_that_is_off_is_left_out(tmp_path: Path, source: ThermalSource) -> None:
    """The kernel answers EAGAIN, EINVAL or ENODATA; here it is EISDIR, an OSError as well."""
    refuse(add_zone(tmp_path, 0, "off", 40000) / "temp")
    add_zone(tmp_path, 1, "on", 40000)
    assert names(source) == ["on"]


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [("garbage", "thermal_zone0/temp says 'garbage'"), ("-273200", "-273.2 degrees Celsius, expected -100 to 250")],
)
def test_where_no_zone_can_be_read_the_first_reason_is_raised(
    tmp_path: Path, source: ThermalSource, nonsense: str, reason: str
) -> None:
    add_zone(tmp_path, 0, "broken", nonsense)
    refuse(add_zone(tmp_path, 1, "off", 40000) / "temp")
    with pytest.raises(ValueError, match=reason):
        source.read()


def test_a_read_that_fails_names_the_file(tmp_path: Path, source: ThermalSource) -> None:
    refuse(add_zone(tmp_path, 0, "off", 40000) / "temp")
    with pytest.raises(OSError, match="thermal_zone0/temp"):
        source.read()


def test_a_zone_that_vanishes_after_it_was_listed_is_left_out(tmp_path: Path, source: ThermalSource) -> None:
    zone = add_zone(tmp_path, 0, "usb-stick", 40000)
    add_zone(tmp_path, 1, "cpu", 40000)
    assert names(source) == ["usb-stick", "cpu"]
    shutil.rmtree(zone)
    assert names(source) == ["cpu"]


def test_a_folder_without_a_type_is_no_zone(tmp_path: Path, source: ThermalSource) -> None:
    (add_zone(tmp_path, 0, "unplugged", 40000) / "type").unlink()
    add_zone(tmp_path, 1, "cpu", 40000)
    assert names(source) == ["cpu"]


def test_zones_of_one_type_get_names_of_their_own(tmp_path: Path, source: ThermalSource) -> None:
    """Whoever follows a trend follows it by name."""
    for number, kind in enumerate(("acpitz", "cpu", "acpitz")):
        add_zone(tmp_path, number, kind, 40000)
    assert names(source) == ["acpitz:0", "cpu", "acpitz:2"]


def test_a_constant_is_no_zone(tmp_path: Path, source: ThermalSource) -> None:
    """`PMIC-Die` of some Jetsons says 100 degrees for ever, which is no heat to act on."""
    add_zone(tmp_path, 0, "PMIC-Die", 100000, hot=120000)
    assert source.read() == {"zones": None}


@pytest.mark.parametrize("unset", ["0", "-274000", "2147483647", "soon"])
def test_trips_that_are_not_set_or_make_no_sense_are_left_out(
    tmp_path: Path, source: ThermalSource, unset: str
) -> None:
    add_zone(tmp_path, 0, "x86_pkg_temp", 40000, passive=unset, critical=100000)
    assert source.read()["zones"][0].trips == (Trip("critical", 100.0),)


def test_trips_are_read_again_only_now_and_then(tmp_path: Path) -> None:
    clock = FakeClock()
    source = ThermalSource(clock, tmp_path)
    zone = add_zone(tmp_path, 0, "cpu", 40000, passive=85000)
    source.read()
    (zone / "trip_point_0_temp").write_text("70000\n")
    (zone / "temp").write_text("41000\n")
    assert source.read()["zones"] == (Zone("cpu", 41.0, (Trip("passive", 85.0),)),)
    clock.advance(LAYOUT_S)
    assert source.read()["zones"] == (Zone("cpu", 41.0, (Trip("passive", 70.0),)),)


@pytest.mark.parametrize("jump_s", [DAYS_400_S, -DAYS_400_S])
def test_a_clock_that_jumps_by_400_days_costs_one_more_listing(tmp_path: Path, jump_s: float) -> None:
    clock = FakeClock()
    source = ThermalSource(clock, tmp_path)
    add_zone(tmp_path, 0, "cpu", 40000)
    source.read()
    add_zone(tmp_path, 1, "gpu", 40000)
    assert names(source) == ["cpu"]
    clock.advance(jump_s)
    assert names(source) == ["cpu", "gpu"]


def test_200_zones_are_read(tmp_path: Path, source: ThermalSource) -> None:
    for number in range(200):
        add_zone(tmp_path, number, f"zone-{number}", 20000 + number)
    assert [zone.celsius for zone in source.read()["zones"]] == [20 + number / 1000 for number in range(200)]


def test_zones_that_fail_are_named_and_the_other_sensors_stand(tmp_path: Path) -> None:
    add_zone(tmp_path, 0, "cpu-thermal", "garbage")
    add_hwmon(tmp_path, 0, "ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=900)
    add_policy(tmp_path, cpuinfo_cur_freq=750000)
    clock = FakeClock()
    sources = [source(clock, tmp_path) for source in (ThermalSource, ThrottleSource, PowerSource)]
    snapshot = Monitor([*sources, BatterySource(tmp_path)], clock).look()
    assert (snapshot.zones, snapshot.battery) == (None, None)
    assert (snapshot.power_w, snapshot.rails) == (4.5, (Rail("VDD_IN", 4.5),))
    assert snapshot.throttle == Throttle((), clock_share=0.5)
    assert [(unread.source, "says 'garbage'" in unread.reason) for unread in snapshot.unread] == [("thermal", True)]
