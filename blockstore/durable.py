"""Files that survive a power cut: written aside, synced, renamed into place, then the folder synced."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from blockstore.errors import StoreFull

PARTIAL = ".partial"
"""Suffix of a file that is still being written; one found later is what a crash left."""

# EFBIG is a limit on the size of files (setrlimit(2), RLIMIT_FSIZE), EDQUOT a quota: to the writer all three
# are a full disk.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def durable_file(destination: Path, scratch: Path, mode: int = 0o444) -> Iterator[BinaryIO]:
    """A new file that appears at `destination` whole or not at all.

    `scratch` is a folder on the same file system. The order is that of rename(2) and fsync(2): without the
    last fsync, of the folder, the new name itself can be lost. An exception in the body leaves nothing
    behind. Raises `StoreFull` when the disk refuses the bytes.
    """
    partial = scratch / f"{destination.name}.{secrets.token_hex(4)}{PARTIAL}"
    with disk_refusals(destination):
        try:
            descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.rename(destination)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(destination.parent)


@contextmanager
def disk_refusals(destination: Path) -> Iterator[None]:
    """Turn the errors of a full disk into `StoreFull`; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise StoreFull(
            f"cannot write {destination}: {os.strerror(error.errno or 0)}; nothing was left half-written."
            " Free some space (`schedulerd store gc` removes what no model uses) and try again"
        ) from error


def make_folder(folder: Path) -> None:
    """Make `folder` and the ones above it, each durably; one that exists stays as it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with disk_refusals(folder):
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (fsync(2): syncing a file does not sync its entry)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
