"""A played board: what is written is read, everything else is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.memory import MemorySource
from schedulerd.scenes.overlay import Overlay
from schedulerd.scenes.script import SENSORS
from schedulerd.scenes.sensors import Sensors, meminfo


@pytest.fixture
def real(tmp_path: Path) -> Path:
    for name in ("stat", "deep/er/a", "deep/er/b", "deep/c", "123/stat"):
        path = tmp_path / "real" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"real {name}")
    return tmp_path / "real"


def test_only_what_is_written_differs(tmp_path: Path, real: Path) -> None:
    overlay = Overlay(tmp_path / "played", real)
    overlay.write("deep/er/a", "played")
    overlay.write("deep/new/x", "played too")
    played = overlay.folder
    assert (played / "deep/er/a").read_text() == "played"
    assert (played / "deep/new/x").read_text() == "played too"
    assert [(played / name).read_text() for name in ("stat", "deep/er/b", "deep/c")] == [
        "real stat",
        "real deep/er/b",
        "real deep/c",
    ]
    assert (real / "deep/er/a").read_text() == "real deep/er/a"
    assert not (played / "123").exists()  # another process


def test_a_file_can_be_the_real_one_again(tmp_path: Path, real: Path) -> None:
    overlay = Overlay(tmp_path / "played", real)
    overlay.write("stat", "played")
    overlay.restore("stat")
    overlay.restore("absent")
    assert (overlay.folder / "stat").read_text() == "real stat"
    assert not (overlay.folder / "absent").exists()


def test_an_emptied_folder_shows_nothing_real(tmp_path: Path, real: Path) -> None:
    overlay = Overlay(tmp_path / "played", real)
    overlay.empty("deep/er")
    overlay.write("deep/er/only", "played")
    assert [path.name for path in (overlay.folder / "deep" / "er").iterdir()] == ["only"]
    assert (overlay.folder / "deep/c").read_text() == "real deep/c"


def test_a_reader_keeps_what_it_has_opened(tmp_path: Path, real: Path) -> None:
    """Files are replaced, never written into: no reader sees half of one."""
    overlay = Overlay(tmp_path / "played", real)
    overlay.write("stat", "before, and longer")
    with (overlay.folder / "stat").open() as opened:
        overlay.write("stat", "after")
        assert opened.read() == "before, and longer"


@pytest.fixture
def sensors(tmp_path: Path) -> Sensors:
    return Sensors(tmp_path, frozenset(SENSORS), trip_c=80.0, cores=4)


def path_of(sensors: Sensors, root: str, name: str) -> Path:
    return Path(sensors.roots()[root]) / name


def test_the_daemons_own_sources_read_played_memory(sensors: Sensors) -> None:
    proc, cgroup = path_of(sensors, "proc", ""), path_of(sensors, "cgroup", "")
    real = MemorySource().read()
    sensors.available(64 * 2**20)
    assert MemorySource(proc).read()["memory_available_bytes"] == 64 * 2**20
    assert MemorySource(proc).read()["memory_total_bytes"] == real["memory_total_bytes"]
    sensors.available(None)
    assert (proc / "meminfo").resolve() == Path("/proc/meminfo")
    assert CgroupSource(proc, cgroup).read()["memory_cgroup_bytes"] is None
    sensors.limit(100e6, 30e6)
    assert CgroupSource(proc, cgroup).read()["memory_cgroup_bytes"] == 70_000_000
    assert (proc / "self" / "status").read_text().startswith("Name:")


def test_heat_clocks_and_stalls_are_as_the_kernel_writes_them(sensors: Sensors) -> None:
    zone = path_of(sensors, "sys", "class/thermal/thermal_zone0")
    sensors.temperature(61.25)
    assert [(zone / name).read_text() for name in ("temp", "type", "trip_point_0_type", "trip_point_0_temp")] == [
        "61250\n",
        "cpu-thermal\n",
        "passive\n",
        "80000\n",
    ]
    policy = path_of(sensors, "sys", "devices/system/cpu/cpufreq/policy0")
    sensors.clock(0.4)
    assert [(policy / name).read_text() for name in ("cpuinfo_cur_freq", "scaling_cur_freq", "affected_cpus")] == [
        "600000\n",
        "1500000\n",
        "0 1 2 3\n",
    ]
    sensors.stall(0.5, 2.0)
    sensors.stall(0.25, 1.0)
    some, full = path_of(sensors, "proc", "pressure/memory").read_text().splitlines()
    assert some == "some avg10=25.00 avg60=25.00 avg300=25.00 total=1250000"
    assert full.startswith("full ")


def test_a_board_of_which_nothing_is_played_is_the_real_one(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path, frozenset(), trip_c=80.0, cores=1)
    assert path_of(sensors, "proc", "meminfo").resolve() == Path("/proc/meminfo")
    assert sensors.roots()["cgroup"] == "/sys/fs/cgroup"


def test_meminfo_has_no_more_free_than_available() -> None:
    text = "MemTotal:        8000 kB\nMemFree:         6000 kB\nMemAvailable:    7000 kB\nHugePages_Total:       0\n"
    played = dict(line.split(":") for line in meminfo(text, 3000 * 1024).splitlines())
    assert {name: value.split()[0] for name, value in played.items()} == {
        "MemTotal": "8000",
        "MemFree": "3000",
        "MemAvailable": "3000",
        "HugePages_Total": "0",
    }
    assert "MemFree:         6000 kB" in meminfo(text, 6500 * 1024)
    assert "MemAvailable:          0 kB" in meminfo(text, -5.0)
