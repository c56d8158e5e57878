"""A board that has everything there is a source for: the captured one, with sensors as a Jetson's kernel shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

from schedulerd.config import BoardConfig

CAPTURED = Path(__file__).resolve().parents[1] / "proc"

SYS = {
    "devices/system/cpu/cpufreq/policy0": {
        "affected_cpus": "0 1",
        "scaling_driver": "tegra194",
        "scaling_governor": "schedutil",
        "scaling_cur_freq": "1510400",
        "scaling_max_freq": "1510400",
        "cpuinfo_max_freq": "1510400",
        "cpuinfo_cur_freq": "729600",
    },
    "class/thermal/thermal_zone0": {
        "type": "cpu-thermal",
        "temp": "61250",
        "trip_point_0_type": "passive",
        "trip_point_0_temp": "99000",
    },
    "class/thermal/cooling_device0": {"type": "cpufreq-cpu0", "cur_state": "1", "max_state": "6"},
    "class/hwmon/hwmon0": {
        "name": "ina3221",
        "in1_label": "VDD_IN",
        "in1_enable": "1",
        "in1_input": "5000",
        "curr1_input": "1200",
    },
    "class/devfreq/17000000.gpu": {"cur_freq": "624750000"},
    "class/devfreq/17000000.gpu/device": {"load": "350"},
    "class/power_supply/BAT0": {
        "type": "Battery",
        "present": "1",
        "capacity": "80",
        "status": "Discharging",
        "power_now": "6000000",
    },
}
"""Files by folder, below /sys."""


def copy_of_proc(folder: Path) -> Path:
    """The captured /proc, of a service with cgroup v2."""
    proc = Path(shutil.copytree(CAPTURED, folder / "proc"))
    shutil.copy(proc / "self" / "cgroup.v2", proc / "self" / "cgroup")
    return proc


def whole_board(folder: Path, peer: str | None) -> BoardConfig:
    """The board in this folder, which a test may change."""
    proc = copy_of_proc(folder)
    for name, files in SYS.items():
        (folder / "sys" / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / "sys" / name / file).write_text(text + "\n")
    return BoardConfig(proc, folder / "sys", proc / "cgroup_v2", peer)


def bare_board(folder: Path) -> BoardConfig:
    """The same without sensors or a peer."""
    proc = copy_of_proc(folder)
    return BoardConfig(proc, folder / "no-sys", proc / "cgroup_v2")
