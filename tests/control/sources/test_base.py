"""Reading files of the kernel's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from schedulerd.control.sources.base import read_optional, read_text


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    text = "cpu0 1 2 3\n" * 20_000
    (tmp_path / "stat").write_text(text)
    assert read_text(tmp_path / "stat") == text
    assert read_optional(tmp_path / "stat") == text


@pytest.mark.parametrize("name", ["gone", "there/below"])
def test_a_file_that_is_not_there_is_none_or_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").write_text("")
    assert read_optional(tmp_path / name) is None
    with pytest.raises(OSError, match=name):
        read_text(tmp_path / name)


def test_a_file_without_a_device_behind_it_is_none(tmp_path: Path) -> None:
    """Of a socket open(2) says what it says of a device that has left."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "device"))
        assert read_optional(tmp_path / "device") is None


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    """The read fails and not the open, as that of a sensor whose driver is out of order."""
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        read_optional(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_is_not_for_us_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("5")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(PermissionError, match="secret"):
        read_optional(tmp_path / "secret")


def test_bytes_that_are_no_text_are_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="utf-8"):
        read_optional(tmp_path / "noise")
