"""By what the profile's times are multiplied to predict the present moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blockprofiles.contention import Slowdown
from blockprofiles.record import Row

Place = tuple[str, int, str]
"""App, block of its model, and the engine that runs it, or the blob."""


@dataclass(frozen=True, slots=True)
class Factors:
    """Measured over profiled time: of the board, and how single blocks differ from it."""

    board: Slowdown = Slowdown()  # noqa: RUF009 - frozen, so sharing the default is safe
    """`p95` may be below 1, but what is promised never falls below the profile."""
    blobs: Mapping[Place, float] = field(default_factory=dict)
    """By app, block and blob, where an app has run it for long enough."""
    engines: Mapping[Place, float] = field(default_factory=dict)
    """By app, block and engine, that of the blob which ran last: for those that have not run yet. Else the one that is
    known to be slow would lose against all others for being known."""
    alone: bool = True
    """Whether requests follow requests of the same route, because there is one app."""

    def of_block(self, app_id: str, block: int, row: Row) -> float:
        """How much more than the board a block of an app differs from its row."""
        known = self.blobs.get((app_id, block, row.digest))
        return self.engines.get((app_id, block, row.engine), 1.0) if known is None else known

    def block_ms(self, app_id: str, block: int, row: Row) -> tuple[float, float]:
        """Median and 95th percentile of a block of an app now."""
        return self._times_ms(row, self.of_block(app_id, block, row))

    def head_ms(self, row: Row) -> tuple[float, float]:
        """The same of the head of an exit, which is not timed by itself: it does as the board does."""
        return self._times_ms(row, 1.0)

    def _times_ms(self, row: Row, block: float) -> tuple[float, float]:
        usual_ms = row.latency_ms if self.alone else row.after_others_ms
        median_ms = self.board.median * block * usual_ms
        return median_ms, max(median_ms, promised(self.board.p95 * block) * row.latency_p95_ms)


def promised(p95: float) -> float:
    """The factor of a 95th percentile that is promised: never below 1.

    What is slow once in twenty times is hardly ever seen in a second, so a second within the profile proves nothing.
    """
    return max(1.0, p95)
