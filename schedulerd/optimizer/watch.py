"""Calls that may never come back, as those into native code: waited for only so long, then given up.

A thread cannot be ended from outside, so one that is given up goes on. Until it has returned nothing more is called,
or every decision would leave another one behind. The call has to let go of the interpreter lock; against one that holds
it nothing in this process helps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")
Wait = Callable[[threading.Event, float], bool]
"""Waits for an event, at most so many seconds; whether it came."""

GRACE_S: Final = 1.0
"""What a solver may take beyond its own time limit, to end in an orderly way, before it is given up."""


class Hung(Exception):
    """A call has not come back in its time, or one before it still has not."""


class Watch:
    """Makes calls of one kind, each on a thread of its own; any thread may ask for one."""

    def __init__(self, what: str, wait: Wait = threading.Event.wait) -> None:
        """Args: what: is called, as messages name it; wait: how the caller waits."""
        self._what = what
        self._wait = wait
        self._lock = threading.Lock()
        self._given_up: list[threading.Event] = []
        """The ends of calls that were given up; none of those that have come since."""

    def call(self, work: Callable[[], Result], timeout_s: float) -> Result:
        """What `work` returns or raises. Raises `Hung` when that takes longer, and at once while an old one hangs."""
        with self._lock:
            self._given_up = [ended for ended in self._given_up if not ended.is_set()]
            if self._given_up:
                raise Hung(f"{self._what} has not come back from an earlier call")
        call = _Call(work)
        threading.Thread(target=call.run, name=self._what, daemon=True).start()
        if not self._wait(call.ended, timeout_s):
            with self._lock:
                self._given_up.append(call.ended)
            raise Hung(f"{self._what} has not come back within {timeout_s:g} s")
        return call.result()


class _Call(Generic[Result]):
    """One call and what came of it."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.ended = threading.Event()
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # whatever it is, it belongs to the caller
            self._error = error
        finally:
            self.ended.set()

    def result(self) -> Result:
        """Once it has ended."""
        if self._error is not None:
            raise self._error
        return self._results[0]
