"""Counts over the life of the daemon: what apps that have left counted stays in the sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schedulerd.plan import RouteChange
from schedulerd.serving.apps import LiveApp


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of one app, or of several together."""

    requests: int = 0
    misses: int = 0
    refused: int = 0
    swaps: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.requests + other.requests,
            self.misses + other.misses,
            self.refused + other.refused,
            self.swaps + other.swaps,
        )


class Tally:
    """Route changes of each live app since it joined, and the counts of all that have left."""

    def __init__(self) -> None:
        self._swaps: dict[str, int] = {}
        self._departed = Totals()

    @property
    def swaps(self) -> Mapping[str, int]:
        """By app; without those that still run their first route."""
        return self._swaps

    def changed(self, changes: Sequence[RouteChange]) -> None:
        """Apps have moved from one route to another; joining and leaving is no change."""
        for change in changes:
            if change.old is not None and change.new is not None:
                self._swaps[change.app_id] = self._swaps.get(change.app_id, 0) + 1

    def left(self, app: LiveApp) -> None:
        """An app has left."""
        self._departed += self._of(app)
        self._swaps.pop(app.spec.app_id, None)

    def totals(self, apps: Iterable[LiveApp]) -> Totals:
        """Of the live apps and of all before them."""
        return sum(map(self._of, apps), self._departed)

    def _of(self, app: LiveApp) -> Totals:
        meter = app.meter
        return Totals(meter.answered, meter.missed, sum(meter.refused.values()), self._swaps.get(app.spec.app_id, 0))
