"""Where work goes that the control loop does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Job = Callable[[], None]


class Aside(Protocol):
    """Runs jobs one after the other."""

    def put(self, job: Job) -> None:
        """Run `job` when those before it are done. Raises `Overloaded` where too many wait."""
        ...

    def ending(self) -> bool:
        """Whether a job that runs should end now."""
        ...


class AtOnce:
    """Runs a job where it is put."""

    def put(self, job: Job) -> None:
        """As `Aside.put`; returns when it is done."""
        job()

    def ending(self) -> bool:
        """Never: nothing goes on in the background."""
        return False
