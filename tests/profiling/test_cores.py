"""Where a profile is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from schedulerd.profiling.cores import lane_cores


def frequencies(folder: Path, *khz: int) -> Path:
    """A tree of sysfs(5) whose cores have these highest frequencies."""
    for core, value in enumerate(khz):
        place = folder / f"devices/system/cpu/cpu{core}/cpufreq"
        place.mkdir(parents=True)
        (place / "cpuinfo_max_freq").write_text(f"{value}\n")
    return folder


def test_the_fastest_cores_are_taken(tmp_path: Path) -> None:
    """Big ones of a board that has both."""
    sys_root = frequencies(tmp_path, 2400000, 1800000, 2400000, 1800000)
    assert lane_cores(1, {0, 1, 2, 3}, sys_root) == {2}
    assert lane_cores(2, {0, 1, 2, 3}, sys_root) == {0, 2}
    assert lane_cores(3, {0, 1, 2, 3}, sys_root) == {0, 2, 3}


def test_of_equal_cores_the_last_are_taken(tmp_path: Path) -> None:
    assert lane_cores(2, {0, 1, 2, 3}, tmp_path) == {2, 3}
    assert lane_cores(1, {0, 1}, frequencies(tmp_path, 1000, 1000)) == {1}


def test_no_more_are_taken_than_there_are(tmp_path: Path) -> None:
    assert lane_cores(8, {0, 1}, tmp_path) == {0, 1}


def test_in_the_background_it_has_only_time_that_nobody_wants() -> None:
    program = (
        "import os; from schedulerd.profiling.cores import stand_back; stand_back();"
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["19", "True"]
