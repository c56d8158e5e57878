"""How busy the cores are, on a captured board and on nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.processor import ProcessorSource
from tests.fakes import FakeClock


def stat_of(*counters: int, cores: int = 2) -> str:
    """A /proc/stat with these totals."""
    lines = ["cpu  " + " ".join(map(str, counters)), *(f"cpu{n} 0 0 0 0" for n in range(cores)), "ctxt 1", ""]
    return "\n".join(lines)


def test_one_busy_core_of_two_is_half(proc: Path) -> None:
    source = ProcessorSource(FakeClock(), proc)
    assert source.read() == {"cpu_count": 2, "cpu_busy": None, "cpu_nice": None}, "one reading has no share"
    (proc / "stat").write_text((proc / "stat.later").read_text())
    assert source.read()["cpu_busy"] == pytest.approx(0.5025, abs=1e-4)


def test_no_jiffies_between_two_readings_leave_the_share_unread(proc: Path) -> None:
    source = ProcessorSource(FakeClock(), proc)
    source.read()
    assert source.read()["cpu_busy"] is None


def test_stolen_time_is_busy_and_waiting_for_a_disk_is_not(proc: Path) -> None:
    source = ProcessorSource(FakeClock(), proc)
    (proc / "stat").write_text(stat_of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    source.read()
    (proc / "stat").write_text(stat_of(0, 0, 0, 40, 20, 0, 0, 40, 0, 0))
    assert source.read()["cpu_busy"] == pytest.approx(0.4)


@pytest.mark.parametrize(("niceness", "expected"), [(0, 0.3), (-5, 0.3), (5, None)])
def test_those_that_make_way_are_told_apart_by_a_process_that_does_not(
    proc: Path, niceness: int, expected: float | None
) -> None:
    source = ProcessorSource(FakeClock(), proc, niceness)
    (proc / "stat").write_text(stat_of(0, 0, 0, 0, 0, 0, 0, 0))
    source.read()
    (proc / "stat").write_text(stat_of(20, 30, 0, 50, 0, 0, 0, 0))
    shares = source.read()
    assert (shares["cpu_busy"], shares["cpu_nice"]) == (pytest.approx(0.5), expected)


def test_a_guest_is_not_counted_twice(proc: Path) -> None:
    source = ProcessorSource(FakeClock(), proc)
    (proc / "stat").write_text(stat_of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    source.read()
    (proc / "stat").write_text(stat_of(50, 0, 0, 50, 0, 0, 0, 0, 50, 0))
    assert source.read()["cpu_busy"] == pytest.approx(0.5)


def test_a_counter_that_steps_back_counts_nothing(proc: Path) -> None:
    source = ProcessorSource(FakeClock(), proc)
    (proc / "stat").write_text(stat_of(100, 0, 0, 1000, 500, 0, 0, 0))
    source.read()
    (proc / "stat").write_text(stat_of(150, 0, 0, 1050, 400, 0, 0, 0))
    assert source.read()["cpu_busy"] == pytest.approx(0.5)


def test_a_thousand_cores_are_counted(proc: Path) -> None:
    (proc / "stat").write_text(stat_of(1, 2, 3, 4, 5, 6, 7, 8, cores=1024))
    assert ProcessorSource(FakeClock(), proc).read()["cpu_count"] == 1024


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu 1 2 3\n", "cpu a b c d e\n", "intr 5 5 5 5 5\n", "\x00\x00"])
def test_garbage_raises(proc: Path, text: str) -> None:
    (proc / "stat").write_text(text)
    with pytest.raises(ValueError, match=r"expected|invalid literal"):
        ProcessorSource(FakeClock(), proc).read()
