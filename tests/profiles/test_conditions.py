"""Clock, temperature and what others take, read from trees as kernels show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockprofiles.conditions import OthersWatch, clock_mhz, fastest_cores, on_cores, temperature_c


def put(path: Path, text: str) -> None:
    """Write a file and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_clock_is_that_of_the_core(tmp_path: Path) -> None:
    """As cpufreq has it, in kHz."""
    put(tmp_path / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "600000\n")
    put(tmp_path / "devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "2400000\n")
    assert clock_mhz(3, tmp_path, tmp_path) == 2400


def test_without_cpufreq_an_x86_kernel_tells_the_clock_in_cpuinfo(tmp_path: Path) -> None:
    """Of each processor."""
    put(tmp_path / "cpuinfo", "processor\t: 0\ncpu MHz\t\t: 800.1\n\nprocessor\t: 1\ncpu MHz\t\t: 2596.096\n\n")
    assert clock_mhz(1, tmp_path, tmp_path) == 2596.096


@pytest.mark.parametrize("cpuinfo", ["", "processor\t: 0\nBogoMIPS\t: 108.00\n", "processor : 0\ncpu MHz : fast\n"])
def test_a_clock_that_the_kernel_does_not_tell_is_none(tmp_path: Path, cpuinfo: str) -> None:
    """As on ARM boards without cpufreq."""
    put(tmp_path / "cpuinfo", cpuinfo)
    assert clock_mhz(0, tmp_path, tmp_path) is None


def test_the_temperature_is_that_of_the_hottest_zone_that_has_a_sensor(tmp_path: Path) -> None:
    """Some zones of Jetson boards have none and read as -256; others cannot be read at all."""
    for number, text in enumerate(("41500", "-256000", "53250", "999999", "")):
        put(tmp_path / f"class/thermal/thermal_zone{number}/temp", text)
    assert temperature_c(tmp_path) == 53.25
    assert temperature_c(tmp_path / "absent") is None


def test_the_fastest_cores_are_measured_on(tmp_path: Path) -> None:
    """By what the kernel says they can do; where it says nothing, the last ones."""
    assert fastest_cores(2, {0, 1, 5}, tmp_path) == {1, 5}
    for core, khz in enumerate((2400000, 1800000, 2400000)):
        put(tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", f"{khz}\n")
    assert fastest_cores(1, {0, 1, 2}, tmp_path) == {2}
    assert fastest_cores(2, {0, 1, 2}, tmp_path) == {0, 2}
    assert fastest_cores(8, {0, 1, 2}, tmp_path) == {0, 1, 2}


def test_a_thread_is_moved_only_for_a_while() -> None:
    """Also when it fails there."""
    before = os.sched_getaffinity(0)
    seen = []

    def fail() -> None:
        with on_cores({max(before)}):
            seen.append(os.sched_getaffinity(0))
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert seen == [{max(before)}]
    assert os.sched_getaffinity(0) == before


class Board:
    """Two cores, whose ticks and whose share of this process a test moves on. 100 ticks a second."""

    def __init__(self, root: Path) -> None:
        self.path, self.own_s = root / "stat", 0.0
        self.user, self.idle, self.steal = [0, 0], [0, 0], [0, 0]
        self.show()

    def show(self) -> None:
        """As in /proc/stat."""
        each = zip(self.user, self.idle, self.steal, strict=True)
        cores = [f"cpu{n} {u} 0 0 {i} 0 0 0 {s} 0 0\n" for n, (u, i, s) in enumerate(each)]
        self.path.write_text("cpu 1 2 3 4\n" + "".join(cores) + "intr 5\n")

    def watch(self, *cores: int) -> OthersWatch:
        """A watch of these cores."""
        return OthersWatch(cores, self.path.parent, own_s=lambda: self.own_s, ticks_per_s=100)


def test_others_are_whoever_runs_but_us(tmp_path: Path) -> None:
    """50 of 100 ticks of two cores are ours, 20 another program's, 5 the hypervisor gave away."""
    board = Board(tmp_path)
    watch = board.watch(0, 1)
    board.user, board.idle, board.steal, board.own_s = [50, 20], [0, 25], [0, 5], 0.5
    board.show()
    assert watch.look() == pytest.approx(0.25)


def test_only_the_cores_that_are_asked_for_count(tmp_path: Path) -> None:
    """The other one may be as busy as it likes."""
    board = Board(tmp_path)
    watch = board.watch(0)
    board.user, board.idle, board.own_s = [50, 100], [50, 0], 0.5
    board.show()
    assert watch.look() == 0


def test_a_look_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    """Or where the watch was told to begin again."""
    board = Board(tmp_path)
    watch = board.watch(0)
    shares = []
    for user, idle, restart in ((100, 0, False), (100, 100, False), (200, 100, True), (200, 200, False)):
        board.user, board.idle = [user, 0], [idle, 0]
        board.show()
        if restart:
            watch.restart()
        else:
            shares.append(watch.look())
    assert shares == [1, 0, 0]


def test_a_few_ticks_say_nothing_yet(tmp_path: Path) -> None:
    """They add up until they do."""
    board = Board(tmp_path)
    watch = board.watch(0)
    found = []
    for user in (10, 25):
        board.user = [user, 0]
        board.show()
        found.append(watch.look())
    assert found == [None, 1]


@pytest.mark.parametrize("text", [None, "", "cpu0 x y\n", "cpu7 1 2 3 4\n"])
def test_what_cannot_be_read_is_none(tmp_path: Path, text: str | None) -> None:
    """A sandbox without /proc/stat, or one of another kind."""
    if text is not None:
        (tmp_path / "stat").write_text(text)
    watch = OthersWatch((0,), tmp_path)
    assert watch.look() is None
    watch.restart()
    assert watch.look() is None
