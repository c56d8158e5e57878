"""One writer at a time: an flock(2) on a file of the store, waited for only so long.

The kernel drops the lock when its holder dies, so a killed builder blocks nobody. Readers never take it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockstore.errors import StoreBusy, StoreReadOnly

_POLL_S = 0.01


class WriteLock:
    """The lock file at `path`.

    Each `hold` opens it anew, so that it keeps out other threads as well as other processes.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for the length of the body. Not re-entrant.

        Raises `StoreBusy` when it could not be had in time, `StoreReadOnly` when its file may not be written.
        """
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o664)
        except PermissionError as error:
            raise StoreReadOnly(
                f"{self._path} may not be written by user {os.geteuid()}: it was made by another one; run as that user,"
                " or give this one the right to write it"
            ) from error
        try:
            self._acquire(descriptor)
            _sign(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise StoreBusy(self._busy(descriptor)) from None
            time.sleep(_POLL_S)

    def _busy(self, descriptor: int) -> str:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        return (
            f"{self._path.parent} is being written by process {holder}, and was not free within"
            f" {self._timeout_s:g} s; wait for it to finish, or stop it"
        )


def _sign(descriptor: int) -> None:
    """Leave our process id for the message of whoever waits in vain."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
