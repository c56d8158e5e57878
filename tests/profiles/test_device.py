"""The fingerprint of a board, from captured /proc and /sys trees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockprofiles.device import Device, read_device

DESKTOP = "processor\t: 0\nmodel name\t: AMD EPYC 9B45\n\nprocessor\t: 1\nmodel name\t: AMD EPYC 9B45\n"
BOARD = "processor\t: 0\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU part\t: 0xd03\n\nprocessor\t: 2\nCPU part\t: 0xd08\n"


def write(root: Path, name: str, text: str) -> None:
    """A file of a captured tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read(root: Path) -> Device:
    """The device of the trees below `root`."""
    return read_device("onnxruntime", "1.31.1", 1, proc=root / "proc", sys=root / "sys", machine="aarch64", cores=4)


def test_reads_the_model_memory_and_governor_of_a_desktop(tmp_path: Path) -> None:
    """The model is named once, however many cores there are."""
    write(tmp_path, "proc/cpuinfo", DESKTOP)
    write(tmp_path, "proc/meminfo", "MemTotal:       16384000 kB\nMemFree:        1 kB\n")
    write(tmp_path, "sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "schedutil\n")
    device = read(tmp_path)
    assert device.cpu_model == "AMD EPYC 9B45"
    assert device.governor == "schedutil"
    assert device.memory_bytes == 31 * 512 * 2**20


def test_names_an_arm_board_by_its_parts_and_its_device_tree(tmp_path: Path) -> None:
    """ARM kernels have no model name in cpuinfo; both clusters of a big.LITTLE chip count."""
    write(tmp_path, "proc/cpuinfo", BOARD)
    write(tmp_path, "sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert read(tmp_path).cpu_model == "Raspberry Pi 5 Model B Rev 1.0 0xd03 0xd08"


def test_names_every_governor_in_use(tmp_path: Path) -> None:
    """Clusters may be set differently."""
    for number, governor in enumerate(("powersave", "performance", "powersave")):
        write(tmp_path, f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_governor", governor + "\n")
    assert read(tmp_path).governor == "performance, powersave"


def test_what_cannot_be_read_is_none_or_unknown(tmp_path: Path) -> None:
    """A container may hide all of it."""
    device = read(tmp_path)
    assert device.governor is None
    assert device.cpu_model == "unknown"


def test_the_fingerprint_survives_a_restart_with_a_little_less_memory(tmp_path: Path) -> None:
    """What the kernel keeps for itself differs from one start to the next."""
    write(tmp_path, "proc/meminfo", "MemTotal:       8000000 kB\n")
    first = read(tmp_path).fingerprint
    write(tmp_path, "proc/meminfo", "MemTotal:       7990000 kB\n")
    assert read(tmp_path).fingerprint == first


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_model": "other"},
        {"machine": "x86_64"},
        {"cores": 2},
        {"governor": "performance"},
        {"memory_bytes": 2**30},
        {"engine": "torch"},
        {"engine_version": "1.32.0"},
        {"threads": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_times_changes_the_fingerprint(tmp_path: Path, change: dict[str, Any]) -> None:
    """So that the board is measured again."""
    device = read(tmp_path)
    assert replace(device, **change).fingerprint != device.fingerprint


def test_this_machine_has_a_device() -> None:
    """The real trees can be read."""
    device = read_device("onnxruntime", "1.31.1", 1)
    assert device.cores >= 1
    assert device.memory_bytes > 0
    assert device == read_device("onnxruntime", "1.31.1", 1)
