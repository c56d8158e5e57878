"""Stalls of the board and of our cgroup, over the last second."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Pressure, Stall
from schedulerd.control.sources.pressure import PressureSource
from tests.fakes import FakeClock

OWN = Path("cgroup_v2/system.slice/schedulerd.service")


def stalls(some_us: int, full_us: int | None = None) -> str:
    """A file of PSI with these totals."""
    kinds = {"some": some_us, "full": full_us}
    averages = "avg10=99.00 avg60=99.00 avg300=99.00"
    return "".join(f"{kind} {averages} total={us}\n" for kind, us in kinds.items() if us is not None)


@pytest.fixture
def board(proc: Path) -> Path:
    """The captured board with cgroup v2, whose totals begin at 0."""
    (proc / "self" / "cgroup").write_text((proc / "self" / "cgroup.v2").read_text())
    for name in ("cpu", "memory", "io"):
        (proc / "pressure" / name).write_text(stalls(0, 0))
    return proc


def after(proc: Path, *changes: tuple[Path | str, str], passed_s: float = 2.0) -> Pressure | None:
    """What is read when these files have changed meanwhile."""
    clock = FakeClock()
    source = PressureSource(clock, proc, proc / "cgroup_v2")
    assert source.read() == {"pressure": None}, "one reading has no share"
    for path, text in changes:
        (proc / path).write_text(text)
    clock.advance(passed_s)
    found = source.read()["pressure"]
    assert found is None or isinstance(found, Pressure)
    return found


def test_a_captured_board_is_read(proc: Path) -> None:
    assert after(proc) == Pressure(Stall(0.0), Stall(0.0, 0.0), Stall(0.0, 0.0))


def test_shares_are_of_the_totals_and_not_of_the_averages(board: Path) -> None:
    found = after(board, ("pressure/memory", stalls(500_000, 200_000)), ("pressure/io", stalls(250_000, 0)))
    assert found == Pressure(Stall(0.0), Stall(0.25, 0.1), Stall(0.125, 0.0))


def test_that_the_whole_board_waits_for_its_processor_is_not_defined(board: Path) -> None:
    found = after(board, ("pressure/cpu", stalls(1_000_000, 0)))
    assert found is not None
    assert found.cpu == Stall(0.5, None)


def test_our_own_stalls_count_where_they_are_larger(board: Path) -> None:
    for name in ("cpu", "memory"):
        (board / OWN / f"{name}.pressure").write_text(stalls(7, 7))
    found = after(
        board,
        (OWN / "cpu.pressure", stalls(1_000_007, 600_007)),
        (OWN / "memory.pressure", stalls(200_007, 7)),
        ("pressure/memory", stalls(1_200_000, 400_000)),
    )
    assert found == Pressure(Stall(0.5, 0.3), Stall(0.6, 0.2), Stall(0.0, 0.0))


def test_the_v2_tree_beside_v1_is_found(board: Path) -> None:
    (board / "cgroup_v2" / "unified").mkdir()
    (board / "self" / "cgroup").write_text("4:memory:/elsewhere\n0::/\n")
    (board / "cgroup_v2" / "unified" / "io.pressure").write_text(stalls(0, 0))
    found = after(board, ("cgroup_v2/unified/io.pressure", stalls(1_000_000, 0)))
    assert found is not None
    assert found.io == Stall(0.5, 0.0)


@pytest.mark.parametrize("membership", ["", "4:memory:/x\n", "0::/../outside\n", "0::/not/mounted/here\n"])
def test_without_a_cgroup_that_we_see_the_board_is_what_counts(board: Path, membership: str) -> None:
    (board / "outside").mkdir()
    (board / "outside" / "cpu.pressure").write_text("garbage")
    (board / "self" / "cgroup").write_text(membership)
    found = after(board, ("pressure/cpu", stalls(1_000_000)))
    assert found is not None
    assert found.cpu == Stall(0.5)


def test_a_kernel_without_stalls_is_none(board: Path) -> None:
    for name in ("cpu", "memory", "io"):
        (board / "pressure" / name).unlink()
    assert after(board) is None


def test_what_the_kernel_lacks_is_none_and_the_rest_is_read(board: Path) -> None:
    (board / "pressure" / "io").unlink()
    (board / "pressure" / "memory").write_text("")
    assert after(board) == Pressure(Stall(0.0), None, None)


def test_a_total_that_falls_back_counts_nothing(board: Path) -> None:
    (board / "pressure" / "io").write_text(stalls(2**63, 5))
    assert after(board, ("pressure/io", stalls(3, 1_000_005))) == Pressure(Stall(0.0), Stall(0.0, 0.0), Stall(0.0, 0.5))


def test_no_share_is_above_1(board: Path) -> None:
    found = after(board, ("pressure/io", stalls(10**12, 10**12)), passed_s=0.2)
    assert found is not None
    assert found.io == Stall(1.0, 1.0)


@pytest.mark.parametrize("passed_s", [0.0, -400 * 86400.0])
def test_a_clock_that_does_not_advance_leaves_the_share_unread(board: Path, passed_s: float) -> None:
    assert after(board, ("pressure/io", stalls(5, 5)), passed_s=passed_s) is None


@pytest.mark.parametrize(
    "text", ["some\n", "most avg10=0.00 total=5\n", "some avg10=0.00\n", "some total=x\n", "some total=\n", "\x00\xff"]
)
def test_garbage_raises(board: Path, text: str) -> None:
    (board / "pressure" / "memory").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"expected|invalid literal|not enough values|codec"):
        PressureSource(FakeClock(), board, board / "cgroup_v2").read()
