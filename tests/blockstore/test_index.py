"""The index by itself: one transaction for one change, and damage told apart from a full disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from blockstore.errors import BlockStoreError
from blockstore.index import SCHEMA_VERSION, Entry, Index, IndexUnreadable

ONE = Entry("one", "m1", (("m1", 10), ("shared", 20)))
TWO = Entry("two", "m2", (("m2", 11), ("own", 30), ("shared", 20)))


@pytest.fixture
def index(folder: Path) -> Index:
    """An index with no models."""
    made = Index(folder / "index.sqlite")
    made.replace_all(())
    return made


def _column(index: Index, question: str) -> list[object]:
    with closing(sqlite3.connect(index.path)) as connection:
        return [row[0] for row in connection.execute(question)]


def test_entries_come_back_in_order_of_name(index: Index) -> None:
    """With all of their digests and sizes."""
    own = tuple(sorted(TWO.sizes))
    index.put([TWO, ONE])
    assert index.entries() == {"one": ONE, "two": Entry("two", "m2", own)}
    assert list(index.entries()) == ["one", "two"]


def test_a_shared_blob_is_forgotten_with_its_last_model(index: Index) -> None:
    """The table of blobs holds what some model uses, once."""
    index.put([ONE, TWO])
    index.remove("two")
    assert _column(index, "SELECT digest FROM blobs ORDER BY digest") == ["m1", "shared"]
    index.remove("one")
    assert _column(index, "SELECT digest FROM blobs") == []


def test_putting_replaces_the_entry_of_that_name(index: Index) -> None:
    """What the old one alone used is forgotten."""
    index.put([TWO])
    newer = Entry("two", "m3", (("m3", 12),))
    index.put([newer])
    assert index.entries() == {"two": newer}
    assert _column(index, "SELECT digest FROM blobs") == ["m3"]


def test_a_change_that_fails_half_way_changes_nothing(index: Index) -> None:
    """The first entry of two is not put when the second cannot be."""
    index.put([ONE])
    impossible = Entry("bad", "m4", (("m4", 1), ("m4", 1)))
    with pytest.raises(BlockStoreError, match="UNIQUE"):
        index.put([TWO, impossible])
    assert list(index.entries()) == ["one"]


def test_the_log_is_written_ahead(index: Index) -> None:
    """WAL is a property of the file, so every later connection has it."""
    assert _column(index, "PRAGMA journal_mode") == ["wal"]


def test_readers_see_the_old_state_while_a_writer_is_at_work(index: Index) -> None:
    """They do not wait for it either."""
    index.put([ONE])
    with closing(sqlite3.connect(index.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM uses")
        assert index.entries() == {"one": ONE}
        writer.execute("ROLLBACK")


def test_an_index_of_another_version_is_unreadable(index: Index) -> None:
    """It is made again rather than misread."""
    with closing(sqlite3.connect(index.path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(IndexUnreadable, match=f"version {SCHEMA_VERSION + 1}"):
        index.entries()


def test_a_damaged_page_is_found_by_the_check(index: Index) -> None:
    """Before anything is read from it."""
    index.put([Entry(f"model {n}", "m1", (("m1", 10),)) for n in range(200)])
    data = bytearray(index.path.read_bytes())
    data[4096:8192] = bytes(4096)
    index.path.write_bytes(data)
    with pytest.raises(IndexUnreadable):
        index.check()


def test_replacing_all_drops_what_is_not_named(index: Index) -> None:
    """In a sound file as in a new one."""
    index.put([ONE])
    index.replace_all([TWO])
    assert list(index.entries()) == ["two"]
    index.path.write_bytes(b"garbage")
    index.replace_all([ONE])
    assert index.entries() == {"one": ONE}


def test_an_old_log_is_not_played_into_a_new_index(index: Index) -> None:
    """What a killed process left beside a lost index must not come back."""
    with closing(sqlite3.connect(index.path, isolation_level=None)) as killed:
        killed.execute("INSERT INTO models VALUES ('ghost', 'm9')")
        log = index.path.with_name("index.sqlite-wal").read_bytes()
    assert log
    index.path.unlink()
    index.path.with_name("index.sqlite-wal").write_bytes(log)
    index.replace_all([ONE])
    assert list(index.entries()) == ["one"]


def test_a_file_that_may_not_be_opened_is_not_taken_for_a_damaged_one(folder: Path) -> None:
    """Only damage gets an index made again."""
    (folder / "index.sqlite").mkdir()
    with pytest.raises(BlockStoreError, match="cannot be used") as caught:
        Index(folder / "index.sqlite").entries()
    assert not isinstance(caught.value, IndexUnreadable)
