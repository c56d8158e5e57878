"""What `schedctl` needs of a client of the daemon, and what its commands are."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from schedulerd_client import Addition, Event


class Events(AbstractContextManager[Any], Iterator[Event], Protocol):
    """A stream of events that is closed afterwards."""


class Control(AbstractContextManager[Any], Protocol):
    """What this program needs of `schedulerd_client.ControlClient`."""

    def status(self) -> Mapping[str, Any]:
        """How the daemon and its board are."""
        ...

    def apps(self) -> Mapping[str, Any]:
        """`apps`: every app."""
        ...

    def plan(self) -> Mapping[str, Any]:
        """The plan in force."""
        ...

    def models(self) -> Mapping[str, Any]:
        """`models`: what the store holds."""
        ...

    def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
        """Change one app's budget."""
        ...

    def set_priority(self, app: str, priority: int) -> Mapping[str, Any]:
        """Change one app's priority."""
        ...

    def pin(self, app: str, blocks: Mapping[str, str]) -> Mapping[str, Any]:
        """Hold what an app runs; no blocks: all of it."""
        ...

    def unpin(self, app: str, blocks: Sequence[str]) -> Mapping[str, Any]:
        """Hold it no longer; no blocks: all of it."""
        ...

    def drain(self, app: str | None) -> Mapping[str, Any]:
        """Give an app no new work; None: nobody."""
        ...

    def resume(self, app: str | None) -> Mapping[str, Any]:
        """Let it go on; None: everybody."""
        ...

    def set_limit(self, what: str, value_bytes: int | None) -> Mapping[str, Any]:
        """Change a limit of all apps."""
        ...

    def why(self, app: str) -> Mapping[str, Any]:
        """Why an app runs what it runs."""
        ...

    def whatif(
        self,
        budgets_ms: Mapping[str, float],
        memory_bytes: int | None,
        add: Sequence[Addition],
        objective: str | None,
    ) -> Mapping[str, Any]:
        """What such edits would lead to."""
        ...

    def objective(self, name: str | None) -> Mapping[str, Any]:
        """Change the objective; None asks for it."""
        ...

    def log_level(self, level: str | None) -> Mapping[str, Any]:
        """Change which events the daemon logs; None asks for it."""
        ...

    def reload(self) -> Mapping[str, Any]:
        """Have the configuration read again."""
        ...

    def overrides(self) -> Mapping[str, Any]:
        """What operators have set."""
        ...

    def drop_overrides(self, app: str | None) -> Mapping[str, Any]:
        """Go back to what an app registered with; None drops everything."""
        ...

    def events(self, kinds: Sequence[str], timeout_s: float | None) -> Events:
        """What happens from now on; ends after `timeout_s` without an event."""
        ...


Connect = Callable[[Path | None, float], Control]
Command = Callable[[Control, argparse.Namespace], int | None]
"""Returns an exit code other than 0 where it wants one."""
Alone = Callable[[argparse.Namespace], str]
"""A command that asks no daemon: what it prints."""
