"""Who is told how measuring goes: a progress bar, a table that is saved every few seconds, the parent of a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from blockprofiles.record import Row
from blockprofiles.table import Unusable


class Listener(Protocol):
    """Told by `measure`, in its thread; what it does is not timed as part of a block."""

    def begin(self, digest: str | None) -> None:
        """This blob is about to be loaded and run for the first time; None: it has been, and nothing happened."""
        ...

    def rows(self, rows: Sequence[Row]) -> None:
        """All rows of the present model so far; those that are not `complete` come again."""
        ...

    def fault(self, unusable: Unusable) -> None:
        """A blob cannot be used."""
        ...

    def progress(self, share: float, left_s: float | None) -> None:
        """So much is done, 0 to 1, and so many seconds are left; None while nobody can tell."""
        ...


class Silent:
    """A listener that does nothing."""

    def begin(self, digest: str | None) -> None:
        """See `Listener`."""

    def rows(self, rows: Sequence[Row]) -> None:
        """See `Listener`."""

    def fault(self, unusable: Unusable) -> None:
        """See `Listener`."""

    def progress(self, share: float, left_s: float | None) -> None:
        """See `Listener`."""


@contextmanager
def begun(digest: str, listener: Listener) -> Iterator[None]:
    """The listener knows that what is done within is of this blob."""
    listener.begin(digest)
    try:
        yield
    finally:
        listener.begin(None)
