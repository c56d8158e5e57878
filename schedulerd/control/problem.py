"""The optimizer's input as one frozen value: everything that a decision depends on, and nothing else.

Costs are those of the profile, unscaled; `slowdown` carries what the live timings and the snapshot say about the
present moment. A problem can be written to JSON and decided again elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from schedulerd.plan import App


@dataclass(frozen=True, slots=True)
class Option:
    """One variant of one block, as the optimizer sees it."""

    variant: str
    digest: str
    """Blob for the engine in use: options of equal digest share their memory."""
    latency_ms: float
    """Median of the profile, measured inside whole routes."""
    latency_p95_ms: float
    memory_bytes: int
    accuracy_drop: float


@dataclass(frozen=True, slots=True)
class AppOptions:
    """An app and, for each block of its model, the variants to choose from."""

    app: App
    full_accuracy: float
    blocks: tuple[tuple[Option, ...], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the apps may use now."""

    memory_bytes: int
    """Resident bytes that the blocks of all routes may take."""
    utilisation_cap: float = 0.8
    """Share of the lanes that the apps together may use, 0 to 1; the rest absorbs bursts."""
    lanes: int = 1
    overhead_ms: float = 0.3
    """Serving overhead added to every request: admission, queue, reply."""


@dataclass(frozen=True, slots=True)
class Problem:
    """All apps together, under the limits of this moment."""

    apps: tuple[AppOptions, ...]
    limits: Limits
    slowdown: float = 1.0
    """Measured over predicted time of recent blocks, 1 on a quiet board; every latency is multiplied by it."""
