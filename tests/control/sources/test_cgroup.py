"""What memory cgroups leave, v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.cgroup import CgroupSource


def test_v2_leaves_the_lower_of_max_and_high_less_what_is_used(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
    left = CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"]
    assert left == 250_000_000 - 140_000_000 + 30_000_000, "idle file pages can be had back"


def test_v2_takes_the_strictest_ancestor(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
    (proc / "cgroup_v2" / "system.slice" / "memory.max").write_text("420000000\n")
    left = CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"]
    assert left == 420_000_000 - 400_000_000 + 30_000_000


def test_v1_takes_the_strictest_ancestor_and_knows_its_word_for_no_limit(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v1").read_text())
    left = CgroupSource(proc, proc / "cgroup_v1").read()["memory_cgroup_bytes"]
    assert left == 500_000_000 - 150_000_000 + 40_000_000


def test_use_above_the_limit_leaves_nothing(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
    (proc / "cgroup_v2/system.slice/schedulerd.service/memory.max").write_text("1000\n")
    assert CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"] == 0


@pytest.mark.parametrize(
    "membership",
    ["0::/\n", "0::/elsewhere/in/the/tree\n", "0::/../../outside\n", "3:cpuset:/\n0::/\n", ""],
)
def test_no_limit_above_us_is_none(proc: Path, membership: str) -> None:
    (proc / "self" / "cgroup").write_text(membership)
    assert CgroupSource(proc, proc / "cgroup_v2").read()["memory_cgroup_bytes"] is None


def test_a_kernel_without_cgroups_is_none(tmp_path: Path) -> None:
    nothing = {"memory_cgroup_bytes": None, "memory_confined": None}
    assert CgroupSource(tmp_path, tmp_path / "cgroup").read() == nothing


PI = """#subsys_name	hierarchy	num_cgroups	enabled
cpuset	0	47	1
memory	0	47	0
pids	0	47	1
"""


@pytest.mark.parametrize(
    ("cgroups", "membership", "controllers", "expected"),
    [
        (PI, "0::/system.slice\n", "cpuset cpu io pids\n", False),
        (PI.replace("47\t0\n", "47\t1\n"), "0::/system.slice\n", "cpuset cpu io memory pids\n", True),
        (PI.replace("47\t0\n", "47\t1\n"), "0::/\n", "cpu pids\n", True),
        ("#subsys_name\thierarchy\n", "0::/system.slice\n", "cpuset cpu io memory pids\n", True),
        ("#subsys_name\thierarchy\n", "0::/system.slice\n", "cpuset cpu io pids\n", False),
        (None, "4:memory:/system.slice\n", None, True),
        (None, "4:pids:/system.slice\n", None, None),
        ("memory\n\nmemory one two three four\n", "0::/\n", None, None),
    ],
    ids=["pi", "enabled", "not ours to set", "v2 only", "v2 only without", "v1", "v1 without", "garbage"],
)
def test_whether_the_kernel_can_hold_us(
    tmp_path: Path, cgroups: str | None, membership: str, controllers: str | None, expected: bool | None
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(membership)
    if cgroups is not None:
        (tmp_path / "cgroups").write_text(cgroups)
    if controllers is not None:
        (tmp_path / "cgroup.controllers").write_text(controllers)
    assert CgroupSource(tmp_path, tmp_path).read()["memory_confined"] is expected


def test_a_container_that_sees_only_its_own_part_of_the_tree_reads_the_root(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/outer/names/that/are/not/mounted\n")
    (proc / "cgroup_v1" / "memory" / "memory.limit_in_bytes").write_text("200000000\n")
    left = CgroupSource(proc, proc / "cgroup_v1").read()["memory_cgroup_bytes"]
    assert left == 200_000_000 - 179_118_080 + 47_497_216


def test_garbage_raises(proc: Path) -> None:
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
    (proc / "cgroup_v2" / "system.slice" / "memory.max").write_text("plenty\n")
    with pytest.raises(ValueError, match="plenty"):
        CgroupSource(proc, proc / "cgroup_v2").read()
