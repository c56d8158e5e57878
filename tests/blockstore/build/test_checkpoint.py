"""Work in progress: whole or absent, whatever happens to the disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstore.build.checkpoint import Work
from blockstore.durable import PARTIAL
from blockstore.errors import CannotBuild

LIMIT_BYTES = 1 << 20


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow above `LIMIT_BYTES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_kept_is_there_and_nothing_else(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    work.put("a/b", b"old")
    work.put("a/b", b"new")
    work.put_json("c.json", {"cuts": ["layer1.0"]})
    assert work.get("a/b") == b"new"
    assert work.get_json("c.json") == {"cuts": ["layer1.0"]}
    assert work.get("a/c") is None
    assert work.get_json("d.json") is None


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 31, b"x" * 200])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: bytes) -> None:
    work = Work(tmp_path)
    work.put_json("a", [1])
    (tmp_path / "a").write_bytes(damage)
    assert work.get_json("a") is None


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.put("a", b"weights")
    stored = bytearray((tmp_path / "a").read_bytes())
    stored[-1] ^= 1
    (tmp_path / "a").write_bytes(stored)
    assert work.get("a") is None


def test_a_full_disk_is_told_with_the_sizes_and_what_was_there_stays(tmp_path: Path, full_disk: None) -> None:
    work = Work(tmp_path / "work")
    work.put("a", b"kept")
    with pytest.raises(CannotBuild, match=rf"work/a needs {2 * LIMIT_BYTES + 32} bytes, \d+ bytes are free.*again"):
        work.put("a", bytes(2 * LIMIT_BYTES))
    assert work.get("a") == b"kept"
    assert [p.name for p in work.folder.iterdir()] == ["a"]


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.put("a/b", b"kept")
    (tmp_path / "a" / f"b.1234{PARTIAL}").write_bytes(b"ha")
    work.sweep()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


def test_discarded_and_removed_work_is_gone(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    work.put("a", b"1")
    work.put("b", b"2")
    work.discard("a")
    work.discard("a")
    assert (work.get("a"), work.get("b")) == (None, b"2")
    work.remove()
    assert not work.folder.exists()
