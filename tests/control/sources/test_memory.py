"""The board's memory, captured and garbled."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.memory import MemorySource


def test_total_and_available_are_read_in_bytes(proc: Path) -> None:
    assert MemorySource(proc).read() == {
        "memory_total_bytes": 24684084 * 1024,
        "memory_available_bytes": 24315388 * 1024,
    }


def test_a_line_that_is_missing_is_none(proc: Path) -> None:
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemAvailableToo:  7 kB\n")
    assert MemorySource(proc).read() == {"memory_total_bytes": 1024000, "memory_available_bytes": None}


@pytest.mark.parametrize("line", ["MemTotal: many kB", "MemTotal: -5 kB", "MemTotal: 5 MB", "MemTotal: 5"])
def test_garbage_raises(proc: Path, line: str) -> None:
    (proc / "meminfo").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"expected|invalid literal|values to unpack"):
        MemorySource(proc).read()
