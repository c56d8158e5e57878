"""What a route costs, from the rows of its variants, and of the exits on its way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def compose(rows: Sequence[Row]) -> Cost:
    """Cost of the route whose blocks, and exits that are evaluated, have these rows."""
    return Cost(
        latency_ms=sum(row.latency_ms for row in rows),
        latency_p95_ms=sum(row.latency_p95_ms for row in rows),
        memory_bytes=resident_bytes(rows),
    )


def resident_bytes(rows: Iterable[Row]) -> int:
    """Memory of all these variants and exits together; equal blobs are loaded once and counted once."""
    return sum({row.digest: row.memory_bytes for row in rows}.values())
