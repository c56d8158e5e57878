"""Content-addressed files: `blobs/sha256/ab/abcdef...`, named by the SHA-256 of their bytes, never changed.

A blob is written in `tmp/` and renamed into place; deleting is unlink, so a process that has one mapped keeps
it. A blob whose bytes are not those of its name is moved to `quarantine/`, where a person may look at it; the
store itself never removes it there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from itertools import count
from pathlib import Path

from blockstore.durable import durable_file, make_folder, sync_folder
from blockstore.errors import CorruptBlob, MissingBlob

_DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobFile:
    """One blob as the folder lists it. `changed_s` is its modification time, seconds since the epoch."""

    digest: str
    path: Path
    size_bytes: int
    changed_s: float


def digest_of(data: bytes) -> str:
    """The name of these bytes: SHA-256 (FIPS 180-4), 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` can name a blob; nothing else ever becomes part of a path."""
    return _DIGEST.fullmatch(text) is not None


class Blobs:
    """The blob files below one store's root.

    Knows nothing of models, the index or the lock: callers that write hold it.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs" / "sha256"
        self.scratch = root / "tmp"
        self.quarantine = root / "quarantine"

    def prepare(self) -> None:
        """Make the folders that are not there yet."""
        for folder in (self.folder, self.scratch, self.quarantine):
            make_folder(folder)

    def place(self, digest: str) -> Path:
        """Where the blob of that name belongs; `MissingBlob` when `digest` cannot name one."""
        if not is_digest(digest):
            raise MissingBlob(f"{digest!r} names no blob: a digest is 64 lower-case hexadecimal digits")
        return self.folder / digest[:2] / digest

    def find(self, digest: str) -> Path:
        """The file of a blob, its bytes unchecked; `MissingBlob` when it is not on disk."""
        path = self.place(digest)
        if not path.is_file():
            raise self._missing(digest)
        return path

    def open(self, digest: str) -> BufferedReader:
        """A blob's file for reading, its bytes unchecked; `MissingBlob` when it is not on disk."""
        try:
            return self.place(digest).open("rb")
        except FileNotFoundError:
            raise self._missing(digest) from None

    def _missing(self, digest: str) -> MissingBlob:
        fate = "; it was found damaged and is in quarantine" if self.quarantined(digest) else ""
        return MissingBlob(
            f"blob {digest} is not in {self.folder}{fate}. Import an archive that holds it or build its model"
            " again; `schedulerd store verify` names the model"
        )

    def size_bytes(self, digest: str) -> int | None:
        """Size of the blob on disk, None when it is not there."""
        try:
            return self.place(digest).stat().st_size
        except (FileNotFoundError, MissingBlob):
            return None

    def matches(self, digest: str) -> bool:
        """Whether the bytes on disk are still those that gave the blob its name. Reads the whole file."""
        try:
            with self.open(digest) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError as error:
            # A sector that cannot be read is a damaged blob like any other: worn cards fail in this way.
            if error.errno == errno.EIO:
                return False
            raise

    def write(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Store bytes under the name they must have. Raises `CorruptBlob` when they do not, `StoreFull`.

        Nothing stays then.
        """
        destination = self.place(digest)
        make_folder(destination.parent)
        hasher = hashlib.sha256()
        with durable_file(destination, self.scratch) as file:
            for chunk in chunks:
                hasher.update(chunk)
                file.write(chunk)
            if hasher.hexdigest() != digest:
                raise CorruptBlob(
                    f"bytes given for blob {digest} have the hash {hasher.hexdigest()}; they were not stored"
                )

    def touch(self, digest: str) -> None:
        """Make a blob young again, so that garbage collection spares it until its model is put."""
        os.utime(self.place(digest))

    def unlink(self, digest: str) -> None:
        """Remove a blob's name; whoever has the file open keeps its bytes."""
        path = self.place(digest)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)

    def set_aside(self, digest: str) -> Path:
        """Move a damaged blob to quarantine, never over an older one; returns where it lies now."""
        path = self.find(digest)
        names = (self.quarantine / f"{digest}.{number}" for number in count())
        target = next(name for name in names if not name.exists())
        path.rename(target)
        sync_folder(self.quarantine)
        sync_folder(path.parent)
        return target

    def quarantined(self, digest: str = "") -> tuple[Path, ...]:
        """Files in quarantine: those of one digest, or all."""
        return tuple(sorted(self.quarantine.glob(f"{digest}*")))

    def partials(self) -> tuple[Path, ...]:
        """Files that were being written; outside the lock some may still be."""
        return tuple(sorted(self.scratch.glob("*")))

    def walk(self) -> Iterator[BlobFile]:
        """Every blob on disk in order of digest; what is not named like a blob is passed over."""
        for path in sorted(self.folder.glob("??/*")):
            if not is_digest(path.name) or path.parent.name != path.name[:2]:
                continue
            with suppress(FileNotFoundError):  # another process may collect it while we walk
                status = path.stat()
                yield BlobFile(path.name, path, status.st_size, status.st_mtime)
