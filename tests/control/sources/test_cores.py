"""Each core's load and clock, on a captured board and on nonsense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from schedulerd.control.readings import Core
from schedulerd.control.sources.cores import CoreSource
from tests.fakes import FakeClock

Counters = Mapping[int, tuple[int, ...]]


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A board whose two cores share a clock, as on a Raspberry Pi; for root, the firmware says what it really is."""
    policy = tmp_path / "sys" / "devices" / "system" / "cpu" / "cpufreq" / "policy0"
    policy.mkdir(parents=True)
    files = {
        "affected_cpus": "0 1",
        "scaling_driver": "cpufreq-dt",
        "scaling_governor": "ondemand",
        "scaling_cur_freq": "1500000",
        "scaling_max_freq": "1800000",
        "cpuinfo_max_freq": "1800000",
        "cpuinfo_cur_freq": "600117",
    }
    for name, text in files.items():
        (policy / name).write_text(text + "\n")
    return tmp_path / "sys"


def policy_of(sys: Path) -> Path:
    return sys / "devices" / "system" / "cpu" / "cpufreq" / "policy0"


def cores_of(source: CoreSource) -> tuple[Core, ...]:
    found = source.read()["cores"]
    assert isinstance(found, tuple)
    return found


def stat_of(counters: Counters) -> str:
    """A /proc/stat with these counters by core."""
    lines = (f"cpu{number} {' '.join(map(str, counts))}\n" for number, counts in counters.items())
    return "cpu  1 2 3 4 5 6 7 8 0 0\n" + "".join(lines) + "intr 5 5 5\ncpuset 7\n"


def busy_after(proc: Path, before: Counters, after: Counters) -> dict[int, float | None]:
    """By core, the share in use between two readings."""
    source = CoreSource(FakeClock(), proc, proc / "no-sys")
    (proc / "stat").write_text(stat_of(before))
    source.read()
    (proc / "stat").write_text(stat_of(after))
    return {core.number: core.busy for core in cores_of(source)}


def test_a_captured_board_has_one_core_busy(proc: Path, tmp_path: Path) -> None:
    source = CoreSource(FakeClock(), proc, tmp_path / "no-sys")
    assert source.read() == {"cores": (Core(0), Core(1))}, "one reading has no share"
    (proc / "stat").write_text((proc / "stat.later").read_text())
    assert [core.busy for core in cores_of(source)] == [0.0, 1.0]


def test_the_clock_is_what_the_hardware_counts_and_not_what_was_asked_for(proc: Path, sys: Path) -> None:
    cores = cores_of(CoreSource(FakeClock(), proc, sys))
    assert cores == tuple(Core(n, None, 600_117e3, 1_500_000e3, 1_800_000e3, "ondemand") for n in range(2))


@pytest.mark.parametrize("said", [None, "<unknown>", "0"])
def test_where_the_hardware_does_not_tell_the_clock_is_as_it_was_set(proc: Path, sys: Path, said: str | None) -> None:
    path = policy_of(sys) / "cpuinfo_cur_freq"
    path.unlink() if said is None else path.write_text(said + "\n")
    core = cores_of(CoreSource(FakeClock(), proc, sys))[0]
    assert (core.clock_hz, core.wanted_hz) == (1_500_000e3, None), "the two cannot be compared"


def test_clocks_are_read_each_time_and_governors_seldom(proc: Path, sys: Path) -> None:
    clock = FakeClock()
    source = CoreSource(clock, proc, sys)
    source.read()
    (policy_of(sys) / "cpuinfo_cur_freq").write_text("700000\n")
    (policy_of(sys) / "scaling_governor").write_text("powersave\n")
    clock.advance(1.0)
    core = cores_of(source)[0]
    assert (core.clock_hz, core.governor) == (700_000e3, "ondemand")
    clock.advance(60.0)
    assert cores_of(source)[0].governor == "powersave"


def test_a_policy_that_vanishes_leaves_the_clock_unread(proc: Path, sys: Path) -> None:
    source = CoreSource(FakeClock(), proc, sys)
    source.read()
    for path in policy_of(sys).iterdir():
        path.unlink()
    assert [core.clock_hz for core in cores_of(source)] == [None, None]


def test_cores_that_are_offline_are_gaps(proc: Path, sys: Path) -> None:
    (policy_of(sys) / "affected_cpus").write_text("0 1 2 3\n")
    (proc / "stat").write_text(stat_of({0: (1, 1, 1, 1), 3: (1, 1, 1, 1)}))
    cores = cores_of(CoreSource(FakeClock(), proc, sys))
    assert [(core.number, core.clock_hz) for core in cores] == [(0, 600_117e3), (3, 600_117e3)]


def test_a_core_that_comes_online_has_no_share_yet(proc: Path) -> None:
    busy = busy_after(proc, {0: (0, 0, 0, 0)}, {0: (5, 0, 0, 5), 1: (5, 0, 0, 5)})
    assert busy == {0: 0.5, 1: None}


def test_stolen_time_is_busy_waiting_for_a_disk_is_not_and_guests_count_once(proc: Path) -> None:
    before, after = (0,) * 10, (10, 10, 10, 30, 10, 10, 10, 10, 10, 10)
    assert busy_after(proc, {0: before}, {0: after}) == {0: 0.6}


def test_counters_that_wrap_or_step_back_count_nothing(proc: Path) -> None:
    before = {0: (2**64 - 5, 0, 0, 10), 1: (10, 0, 0, 2**64 - 5), 2: (5, 0, 0, 5)}
    after = {0: (3, 0, 0, 20), 1: (20, 0, 0, 3), 2: (1, 0, 0, 1)}
    assert busy_after(proc, before, after) == {0: 0.0, 1: 1.0, 2: None}


def test_a_thousand_cores_are_read(proc: Path) -> None:
    busy = busy_after(proc, dict.fromkeys(range(1024), (0, 0, 0, 0)), {n: (n, 0, 0, 1024) for n in range(1024)})
    assert len(busy) == 1024
    assert (busy[0], busy[1023]) == (0.0, 1023 / 2047)


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2 3 4\nintr 5\n", "cpu 1\ncpu0 1 2 3\n", "cpu0 a b c d\n", "cpux 1 2 3 4\n"]
)
def test_garbage_raises(proc: Path, text: str) -> None:
    (proc / "stat").write_text(text)
    with pytest.raises(ValueError, match=r"no line of a core|invalid literal|not enough values"):
        CoreSource(FakeClock(), proc, proc).read()


CLOCKS = ("scaling_cur_freq", "cpuinfo_cur_freq", "cpuinfo_max_freq")


@pytest.mark.parametrize(
    ("name", "said"), [("affected_cpus", "all"), *((name, said) for name in CLOCKS for said in ("fast", "-5", ""))]
)
def test_a_clock_that_makes_no_sense_raises(proc: Path, sys: Path, name: str, said: str) -> None:
    (policy_of(sys) / name).write_text(said + "\n")
    with pytest.raises(ValueError, match=r"expected|invalid literal"):
        CoreSource(FakeClock(), proc, sys).read()
