"""The index of a store: which models there are and which blobs each uses, in one SQLite file.

WAL with synchronous=FULL: a commit that returned survives a power cut, and readers do not wait for the writer
(https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous). A connection lives
for one question, so none can outlast the file it was opened on. Everything in here can be had again from the
blobs (`recovery.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from blockstore.durable import sync_folder
from blockstore.errors import BlockStoreError, StoreBusy, StoreFull

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 10.0
_SCHEMA = (
    "CREATE TABLE models (name TEXT PRIMARY KEY, manifest TEXT NOT NULL)",
    "CREATE TABLE blobs (digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL)",
    """CREATE TABLE uses (
        model TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES blobs (digest),
        PRIMARY KEY (model, digest)
    )""",
)
# One statement sees one state of the file, whatever a writer commits meanwhile.
_ENTRIES = """
    SELECT name, manifest, digest, size_bytes
    FROM models JOIN uses ON uses.model = models.name JOIN blobs USING (digest)
    ORDER BY name, digest
"""
# Result codes; the low byte of an extended code is its primary one.
_PRIMARY = 0xFF
_FULL = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,  # the shared memory of the log is a file too
)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # a table that is not there
    sqlite3.SQLITE_IOERR_READ,  # a sector that cannot be read
    sqlite3.SQLITE_IOERR_SHORT_READ,
)


class IndexUnreadable(BlockStoreError):
    """The index is absent, damaged or of another version.

    The store answers by making it again from the blobs.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one model."""

    name: str
    manifest: str
    """Digest of the manifest's blob."""
    sizes: tuple[tuple[str, int], ...]
    """`(digest, size_bytes)` of every blob that the model needs, manifest included, in order of digest."""

    def digests(self) -> frozenset[str]:
        """Every blob that the model needs, its manifest among them."""
        return frozenset(digest for digest, _ in self.sizes)


class Index:
    """The SQLite file at `path`. Callers that write hold the store's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(f"{path.name}-wal")

    def check(self) -> None:
        """Raise `IndexUnreadable` unless the file is there, of our version and sound."""
        with self._connect() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise IndexUnreadable(f"{self.path} is damaged: {verdict}")

    def entries(self) -> dict[str, Entry]:
        """All models by name, in order of name."""
        with self._connect() as connection:
            rows = connection.execute(_ENTRIES).fetchall()
        return {
            name: Entry(name, manifest, tuple((digest, size_bytes) for _, _, digest, size_bytes in uses))
            for (name, manifest), uses in groupby(rows, key=itemgetter(0, 1))
        }

    def put(self, entries: Iterable[Entry]) -> None:
        """Add models, each in place of the one of its name: all of them or, on an error, none."""
        with self._transaction() as connection:
            _add_all(connection, entries)

    def remove(self, name: str) -> None:
        """Forget a model; its blobs stay on disk."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM models WHERE name = ?", (name,))
            _add_all(connection, ())

    def replace_all(self, entries: Iterable[Entry]) -> None:
        """Hold exactly these models: in one transaction where the file is sound, else in a new file."""
        entries = tuple(entries)
        try:
            self.check()
        except IndexUnreadable:
            self._remake(entries)
            return
        with self._transaction() as connection:
            connection.execute("DELETE FROM models")
            _add_all(connection, entries)

    def signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes whenever another process has changed the index; for readers that cannot open it."""
        return tuple(_status(path) for path in (self.path, self._log))

    def _remake(self, entries: tuple[Entry, ...]) -> None:
        """A new index in place of one that cannot be read.

        It is filled and gets its version in one transaction: a file without it counts as absent. SQLite throws away a
        write-ahead log that it finds beside an empty file (pager.c, pagerOpenWalIfPresent).
        """
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        with self._open("rwc") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            with _committed(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
                _add_all(connection, entries)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        sync_folder(self.path.parent)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection, _committed(connection):
            yield connection

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with self._open("rw") as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                raise IndexUnreadable(f"{self.path} has version {version}, this program reads {SCHEMA_VERSION}")
            yield connection

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        with (
            _translated(self.path),
            closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction around the body: committed when it ends well, else rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into our errors (https://www.sqlite.org/rescode.html).

    Only damage or absence makes an index unreadable: a full disk or a lack of file descriptors must not get a
    sound one thrown away.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _FULL:
            raise StoreFull(f"cannot write {path}: {error}; free some space and try again") from error
        if code & _PRIMARY in _BUSY:
            raise StoreBusy(f"{path} was not free within {_BUSY_TIMEOUT_S:g} s: {error}; try again") from error
        if code in _DAMAGED or code & _PRIMARY in _DAMAGED or not path.exists():
            raise IndexUnreadable(f"{path} cannot be read: {error}") from error
        raise BlockStoreError(f"{path} cannot be used: {error}; look at its owner and its disk") from error


def _add_all(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Add models, each in place of the one of its name, and forget the blobs that none uses any more."""
    for entry in entries:
        connection.execute("DELETE FROM models WHERE name = ?", (entry.name,))
        connection.execute("INSERT INTO models VALUES (?, ?)", (entry.name, entry.manifest))
        connection.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", entry.sizes)
        connection.executemany("INSERT INTO uses VALUES (?, ?)", ((entry.name, digest) for digest, _ in entry.sizes))
    connection.execute("DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM uses)")


def _status(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
