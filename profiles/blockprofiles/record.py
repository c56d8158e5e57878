"""One row of a profile: what a blob costs on one device, by the engine, threads and batch it was run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEASURED: Final = "measured"
"""Timed on this device."""
PREDICTED: Final = "predicted"
"""By the regressions that were fitted to what was measured on this device (`regression`)."""
FOREIGN: Final = "foreign"
"""Timed on another device, whose table was imported."""
SOURCES: Final = (MEASURED, PREDICTED, FOREIGN)
"""Where a row comes from, the most trusted first."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cost of one blob. Times are of the block or head inside a whole route, not of it alone."""

    digest: str
    engine: str
    threads: int
    latency_ms: float
    """Median of a run that follows another one of the same route: an app that has the lane to itself."""
    latency_p95_ms: float
    """95th percentile of runs that follow another route, whose weights and tensors the caches hold."""
    memory_bytes: int
    """Resident bytes that loading and running the block adds to a process: weights and session."""
    samples_ms: tuple[float, ...] = ()
    """Behind `latency_ms`, in the order they were taken; empty where nothing was measured."""
    batch: int = 1
    cold_ms: float | None = None
    """Median of a run that follows another route: apps that take turns. None where that was not measured."""
    cold_samples_ms: tuple[float, ...] = ()
    """Behind `cold_ms` and `latency_p95_ms`."""
    arena_bytes: int = 0
    """Most that its activations take while it runs, from the one arena that all blocks of an engine share."""
    source: str = MEASURED
    """One of `SOURCES`."""
    uncertainty: float = 0.0
    """Half-width of the 95% interval of `latency_ms`, relative to it."""
    energy_mj: float | None = None
    """Of one run, above the idle board; None where no sensor can be read."""
    clock_mhz: float | None = None
    """Of the core while it was measured; None where the kernel does not tell."""
    temperature_c: float | None = None
    """Of the hottest zone, likewise."""
    others: float | None = None
    """Share of the time of the cores it could run on that other programs had, 0 to 1; None where nobody could tell."""
    complete: bool = True
    """Whether it was measured for as long as was asked; else the next profile goes on with its samples."""

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What it is of: blob, engine, threads and batch."""
        return self.digest, self.engine, self.threads, self.batch

    @property
    def after_others_ms(self) -> float:
        """`cold_ms`, or the nearest that is known to it."""
        return self.latency_ms if self.cold_ms is None else self.cold_ms
