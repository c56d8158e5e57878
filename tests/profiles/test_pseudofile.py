"""Reading what a kernel may or may not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockprofiles.pseudofile import read_number, read_text


def test_text_comes_without_its_line_feed(tmp_path: Path) -> None:
    """Kernels end lines, and device trees end strings with a zero."""
    (tmp_path / "name").write_text("package-0\n")
    assert read_text(tmp_path / "name") == "package-0"


def test_what_is_absent_or_no_text_is_none(tmp_path: Path) -> None:
    """Nor is a folder."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfd")
    assert [read_text(tmp_path / name) for name in ("absent", "binary", ".")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "number"), [("2400000\n", 2400000), ("-12.5", -12.5), ("", None), ("<unknown>", None), ("nan", None)]
)
def test_a_number_is_one_or_none(tmp_path: Path, text: str, number: float | None) -> None:
    """`<unknown>` is what cpufreq says of a core that is off."""
    (tmp_path / "value").write_text(text)
    assert read_number(tmp_path / "value") == number
