"""One measured row: what a blob costs on one device, engine and thread count. Raw times stay with the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Cost of one blob. Times are of the block or head inside a whole warm route, not of it alone."""

    digest: str
    engine: str
    threads: int
    latency_ms: float
    """Median of `samples_ms`."""
    latency_p95_ms: float
    memory_bytes: int
    """Resident bytes that loading and running the block adds to a process."""
    samples_ms: tuple[float, ...] = ()
