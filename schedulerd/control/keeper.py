"""Keeps what operators set: in force at once, and in a file as soon as the disk has taken it.

The control thread sets, and never waits for a disk: the file is written aside. Answers to edits are given from there
too, after the write, so that they can say whether the edit outlives the daemon.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from schedulerd.control.aside import Aside
from schedulerd.control.overrides import NONE, Overrides, OverridesFile
from schedulerd.errors import Overloaded

FORGETFUL: Final = "[control] remember is false"
WAITING: Final = "the disk has not taken it yet"


class Keeper:
    """The overrides in force, and which of them the file has."""

    def __init__(self, file: OverridesFile | None, aside: Aside) -> None:
        """Args: file: None to forget with the process; aside: where it is written."""
        self._file = file
        self._aside = aside
        self.overrides = NONE if file is None else file.load()
        """In force; never changed in place."""
        self._asked = self._tried = self._saved = self.overrides
        """Which were last given to be written, were written or could not be, and are in the file."""
        self._trouble: str | None = None
        """Why the last write failed."""

    def set(self, overrides: Overrides) -> None:
        """From now on these are in force."""
        self.overrides = overrides
        self.tend()

    def tend(self) -> None:
        """Have written what could not be given to be written yet, because too much waited aside."""
        if self._file is None or self._asked is self.overrides:
            return
        try:
            self._aside.put(partial(self._write, self.overrides))
        except Overloaded:
            return  # the next turn tries again
        self._asked = self.overrides

    def tell(self, job: Callable[[dict[str, Any]], None]) -> None:
        """Do this when it is known whether what is in force outlives the daemon, and with what to say about it.

        At once where too much waits aside, and then with what is known.
        """
        overrides = self.overrides
        try:
            self._aside.put(lambda: job(self._told(overrides)))
        except Overloaded:
            job(self._told(overrides))

    def close(self) -> None:
        """Write what the thread aside was ended before."""
        if self._tried is not self.overrides:
            self._write(self.overrides)

    def _told(self, overrides: Overrides) -> dict[str, Any]:
        if self._file is None:
            return {"kept": False, "kept_reason": FORGETFUL}
        if self._saved is overrides:
            return {"kept": True, "kept_reason": None}
        return {"kept": False, "kept_reason": self._trouble if self._tried is overrides else WAITING}

    def _write(self, overrides: Overrides) -> None:
        if self._file is None:
            return
        self._trouble = self._file.save(overrides)
        self._tried = overrides
        if self._trouble is None:
            self._saved = overrides
