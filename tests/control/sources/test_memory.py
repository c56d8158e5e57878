"""The board's memory, captured and garbled."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.memory import MemorySource


def test_memory_and_swap_are_read_in_bytes(proc: Path) -> None:
    text = (proc / "meminfo").read_text()
    for name, amount_kb in {"SwapTotal:": 102396, "SwapFree:": 51200}.items():
        assert f"{name:<15}{0:>9} kB" in text, "captured on a machine without swap"
        text = text.replace(f"{name:<15}{0:>9} kB", f"{name:<15}{amount_kb:>9} kB")
    (proc / "meminfo").write_text(text)
    assert MemorySource(proc).read() == {
        "memory_total_bytes": 24684084 * 1024,
        "memory_available_bytes": 24315388 * 1024,
        "swap_total_bytes": 102396 * 1024,
        "swap_free_bytes": 51200 * 1024,
    }


def test_a_line_that_is_missing_is_none(proc: Path) -> None:
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemAvailableToo:  7 kB\n\n")
    assert MemorySource(proc).read() == {
        "memory_total_bytes": 1024000,
        "memory_available_bytes": None,
        "swap_total_bytes": None,
        "swap_free_bytes": None,
    }


@pytest.mark.parametrize(
    "line", ["MemTotal: many kB", "MemTotal: -5 kB", "MemTotal: 5 MB", "MemTotal: 5", "SwapFree: x kB", ""]
)
def test_garbage_raises(proc: Path, line: str) -> None:
    (proc / "meminfo").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"expected|invalid literal|values to unpack|none of the lines"):
        MemorySource(proc).read()
