"""What a route costs, from the rows of its variants, and of the exits on its way. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from blockprofiles.record import Row


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one route on the device whose rows it is made of."""

    latency_ms: float
    """Median: the sum of the blocks' medians, which were measured inside whole routes."""
    latency_p95_ms: float
    """Bound on the 95th percentile: the sum of the blocks' own, reached when their slow runs coincide."""
    memory_bytes: int
    """What a process grows by that loads and runs it."""
    cold_ms: float
    """Median of a run that follows another route."""


def compose(rows: Sequence[Row], alone: bool) -> Cost:
    """Cost of the route whose blocks, and exits that are evaluated, have these rows.

    `alone`: it has its lane to itself, so that each run finds the caches as the one before left them; else it takes
    turns with other routes.
    """
    cold_ms = sum(row.after_others_ms for row in rows)
    return Cost(
        latency_ms=sum(row.latency_ms for row in rows) if alone else cold_ms,
        latency_p95_ms=sum(row.latency_p95_ms for row in rows),
        memory_bytes=resident_bytes(rows),
        cold_ms=cold_ms,
    )


def resident_bytes(rows: Collection[Row], lanes: int = 1) -> int:
    """Memory of all these variants and exits together; equal blobs are loaded once and counted once.

    Activations live in one arena for all, which keeps the most that was ever needed: by the one block that needs most,
    and as often as there are `lanes`, because they may all run it at once.
    """
    loaded = {(row.digest, row.engine, row.threads): row for row in rows}.values()
    return sum(row.memory_bytes for row in loaded) + lanes * max((row.arena_bytes for row in loaded), default=0)
