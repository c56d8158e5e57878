"""The sources on a captured board, and on the nonsense that boards produce."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.memory import MemorySource
from schedulerd.control.sources.process import ProcessSource, own_usage
from schedulerd.control.sources.processor import ProcessorSource
from tests.fakes import FakeClock

CAPTURED = Path(__file__).resolve().parents[2] / "proc"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A copy of the captured tree that a test may change."""
    return Path(shutil.copytree(CAPTURED, tmp_path / "proc"))


def stat_of(*counters: int, cores: int = 2) -> str:
    """A /proc/stat with these totals."""
    lines = ["cpu  " + " ".join(map(str, counters)), *(f"cpu{n} 0 0 0 0" for n in range(cores)), "ctxt 1", ""]
    return "\n".join(lines)


class TestProcessor:
    def test_one_busy_core_of_two_is_half(self, proc: Path) -> None:
        source = ProcessorSource(proc)
        assert source.read() == {"cpu_count": 2, "cpu_busy": None}, "one reading has no share"
        (proc / "stat").write_text((proc / "stat.later").read_text())
        assert source.read()["cpu_busy"] == pytest.approx(0.5025, abs=1e-4)

    def test_no_jiffies_between_two_readings_leave_the_share_unread(self, proc: Path) -> None:
        source = ProcessorSource(proc)
        source.read()
        assert source.read()["cpu_busy"] is None

    def test_stolen_time_is_busy_and_waiting_for_a_disk_is_not(self, proc: Path) -> None:
        source = ProcessorSource(proc)
        (proc / "stat").write_text(stat_of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        source.read()
        (proc / "stat").write_text(stat_of(0, 0, 0, 40, 20, 0, 0, 40, 0, 0))
        assert source.read()["cpu_busy"] == pytest.approx(0.4)

    def test_a_guest_is_not_counted_twice(self, proc: Path) -> None:
        source = ProcessorSource(proc)
        (proc / "stat").write_text(stat_of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        source.read()
        (proc / "stat").write_text(stat_of(50, 0, 0, 50, 0, 0, 0, 0, 50, 0))
        assert source.read()["cpu_busy"] == pytest.approx(0.5)

    def test_a_counter_that_steps_back_counts_nothing(self, proc: Path) -> None:
        source = ProcessorSource(proc)
        (proc / "stat").write_text(stat_of(100, 0, 0, 1000, 500, 0, 0, 0))
        source.read()
        (proc / "stat").write_text(stat_of(150, 0, 0, 1050, 400, 0, 0, 0))
        assert source.read()["cpu_busy"] == pytest.approx(0.5)

    def test_a_thousand_cores_are_counted(self, proc: Path) -> None:
        (proc / "stat").write_text(stat_of(1, 2, 3, 4, 5, 6, 7, 8, cores=1024))
        assert ProcessorSource(proc).read()["cpu_count"] == 1024

    @pytest.mark.parametrize("text", ["", "cpu\n", "cpu 1 2 3\n", "cpu a b c d e\n", "intr 5 5 5 5 5\n", "\x00\x00"])
    def test_garbage_raises(self, proc: Path, text: str) -> None:
        (proc / "stat").write_text(text)
        with pytest.raises(ValueError, match=r"expected|invalid literal"):
            ProcessorSource(proc).read()


class TestMemory:
    def test_total_and_available_are_read_in_bytes(self, proc: Path) -> None:
        assert MemorySource(proc).read() == {
            "memory_total_bytes": 24684084 * 1024,
            "memory_available_bytes": 24315388 * 1024,
        }

    def test_a_line_that_is_missing_is_none(self, proc: Path) -> None:
        (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemAvailableToo:  7 kB\n")
        assert MemorySource(proc).read() == {"memory_total_bytes": 1024000, "memory_available_bytes": None}

    @pytest.mark.parametrize("line", ["MemTotal: many kB", "MemTotal: -5 kB", "MemTotal: 5 MB", "MemTotal: 5"])
    def test_garbage_raises(self, proc: Path, line: str) -> None:
        (proc / "meminfo").write_text(line + "\n")
        with pytest.raises(ValueError, match=r"expected|invalid literal|values to unpack"):
            MemorySource(proc).read()


class TestProcess:
    def test_own_share_is_of_all_cores(self) -> None:
        clock = FakeClock()
        used = iter([(1000, 5.0), (2000, 6.0)])
        source = ProcessSource(clock, lambda: next(used), cpu_count=4)
        assert source.read() == {"memory_own_bytes": 1000, "cpu_own": None}
        clock.advance(0.5)
        assert source.read() == {"memory_own_bytes": 2000, "cpu_own": pytest.approx(0.5)}

    def test_a_clock_that_stands_still_leaves_the_share_unread(self) -> None:
        source = ProcessSource(FakeClock(), lambda: (1000, 5.0))
        source.read()
        assert source.read()["cpu_own"] is None

    def test_this_process_has_a_resident_set_and_has_used_a_core(self) -> None:
        resident_bytes, cpu_s = own_usage()()
        assert resident_bytes > 10**6
        assert cpu_s > 0


class TestCgroup:
    def test_v2_leaves_the_lower_of_max_and_high_less_what_is_used(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
        left = CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"]
        assert left == 250_000_000 - 140_000_000 + 30_000_000, "idle file pages can be had back"

    def test_v2_takes_the_strictest_ancestor(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
        (proc / "cgroup_v2" / "system.slice" / "memory.max").write_text("420000000\n")
        left = CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"]
        assert left == 420_000_000 - 400_000_000 + 30_000_000

    def test_v1_takes_the_strictest_ancestor_and_knows_its_word_for_no_limit(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v1").read_text())
        left = CgroupSource(proc, proc / "cgroup_v1").read()["memory_cgroup_bytes"]
        assert left == 500_000_000 - 150_000_000 + 40_000_000

    def test_use_above_the_limit_leaves_nothing(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
        (proc / "cgroup_v2/system.slice/schedulerd.service/memory.max").write_text("1000\n")
        assert CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"] == 0

    @pytest.mark.parametrize(
        "membership",
        ["0::/\n", "0::/elsewhere/in/the/tree\n", "0::/../../outside\n", "3:cpuset:/\n0::/\n", ""],
    )
    def test_no_limit_above_us_is_none(self, proc: Path, membership: str) -> None:
        (proc / "self" / "cgroup").write_text(membership)
        assert CgroupSource(proc, proc / "cgroup_v2").read() == {"memory_cgroup_bytes": None}

    def test_a_kernel_without_cgroups_is_none(self, tmp_path: Path) -> None:
        assert CgroupSource(tmp_path, tmp_path / "cgroup").read() == {"memory_cgroup_bytes": None}

    def test_a_container_that_sees_only_its_own_part_of_the_tree_reads_the_root(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text("4:memory:/outer/names/that/are/not/mounted\n")
        (proc / "cgroup_v1" / "memory" / "memory.limit_in_bytes").write_text("200000000\n")
        left = CgroupSource(proc, proc / "cgroup_v1").read()["memory_cgroup_bytes"]
        assert left == 200_000_000 - 179_118_080 + 47_497_216

    def test_garbage_raises(self, proc: Path) -> None:
        (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
        (proc / "cgroup_v2" / "system.slice" / "memory.max").write_text("plenty\n")
        with pytest.raises(ValueError, match="plenty"):
            CgroupSource(proc, proc / "cgroup_v2").read()
