"""Who watches a scene while it is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from schedulerd.scenes.record import Sample, Turn


class View(Protocol):
    """Told of every turn and, if it wants to be, of the state of things."""

    @property
    def look_s(self) -> float | None:
        """How often `show` is to be called; None for never, which spares the daemon the questions."""
        ...

    def turn(self, turn: Turn) -> None:
        """A phase begins, or schedulerd has answered it."""
        ...

    def show(
        self, seen: Mapping[str, tuple[Sample, ...]], apps: Sequence[Mapping[str, Any]], status: Mapping[str, Any]
    ) -> None:
        """Samples of each app so far, and the daemon's own view."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class PlainView:
    """One line for each turn."""

    look_s = None

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def turn(self, turn: Turn) -> None:
        """Say what was done; called again with answers, what schedulerd did."""
        if not turn.answers:
            self._say(f"{turn.name}: {turn.what}")
        for answer in turn.answers:
            self._say(f"  -> {answer}")

    def show(
        self, seen: Mapping[str, tuple[Sample, ...]], apps: Sequence[Mapping[str, Any]], status: Mapping[str, Any]
    ) -> None:
        """Nothing between turns."""

    def close(self) -> None:
        """Nothing to give back."""
