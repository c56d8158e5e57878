"""Files with one value each: numbered, missing, refusing, and garbled."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.sources.sysfs import each, number, numbered, optional_number, optional_text, text
from tests.control.sources.trees import refuse, write


def test_a_value_is_what_stands_between_white_space(tmp_path: Path) -> None:
    write(tmp_path, {"type": " cpu-thermal ", "temp": -40000, "bits": "50005"})
    assert text(tmp_path / "type") == "cpu-thermal"
    assert number(tmp_path / "temp") == -40000
    assert number(tmp_path / "bits", 16) == 0x50005


def test_a_file_that_is_missing_is_none_where_it_may_be(tmp_path: Path) -> None:
    assert optional_text(tmp_path / "absent") is None
    assert optional_number(tmp_path / "absent") is None
    with pytest.raises(FileNotFoundError, match="absent"):
        number(tmp_path / "absent")


def test_a_file_that_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="secret"):
        text(refuse(tmp_path / "secret"))


def test_garbage_is_shown_as_far_as_it_helps(tmp_path: Path) -> None:
    write(tmp_path, {"temp": "x" * 100})
    with pytest.raises(ValueError, match="temp says '" + "x" * 40 + "', expected a number to base 10"):
        optional_number(tmp_path / "temp")


def test_entries_come_by_their_number_and_others_do_not(tmp_path: Path) -> None:
    for name in ("cpu10", "cpu2", "cpufreq", "cpu", "cpu2x", "cpu²", "gpu1"):
        (tmp_path / name).mkdir()
    assert numbered(tmp_path, "cpu") == [(2, tmp_path / "cpu2"), (10, tmp_path / "cpu10")]
    assert numbered(tmp_path / "absent", "cpu") == []


def test_of_several_those_that_can_be_read_are_given() -> None:
    assert each(lambda item: 12 // item if item else int("none"), [3, 0, 4]) == (4, 3)
    assert each(lambda item: item or None, [0, 0]) == (), "nothing there is no failure"
    assert each(int, []) == ()


def test_where_none_can_be_read_the_first_reason_is_raised() -> None:
    with pytest.raises(ValueError, match="'first'"):
        each(int, ["first", "second"])
