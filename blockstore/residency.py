"""Whom to evict when memory is short. Pure: the switcher does what this says.

May be evicted: what is warm, that is loaded but on no route. Never: what is pinned by a route, by a request
in flight, or by a plan that is about to use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """A variant in memory."""

    digest: str
    size_bytes: int
    """Resident bytes that letting it go gives back."""
    last_used_s: float
    """Monotonic seconds."""
    pinned: bool


@dataclass(frozen=True, slots=True)
class Eviction:
    """What to let go, and whether that is enough."""

    digests: tuple[str, ...]
    """In the order of choice, longest unused first."""
    freed_bytes: int
    short_bytes: int = 0
    """By how much the limit is still exceeded when all that may go has gone; 0 when all fits."""


def evict(residents: Iterable[Resident], needed_bytes: int, limit_bytes: int) -> Eviction:
    """Choose warm residents to let go, so that the rest and `needed_bytes` more fit in `limit_bytes`.

    Longest unused go first, of equal age the larger. Then whatever turns out to have been chosen in vain
    stays, the most recently used first: one large blob often makes the small ones before it needless.
    """
    residents = tuple(residents)
    excess_bytes = sum(r.size_bytes for r in residents) + needed_bytes - limit_bytes
    warm = sorted((r for r in residents if not r.pinned), key=lambda r: (r.last_used_s, -r.size_bytes, r.digest))
    chosen = _enough(warm, excess_bytes)
    spare_bytes = sum(r.size_bytes for r in chosen) - excess_bytes
    for resident in reversed(chosen.copy()):
        if resident.size_bytes <= spare_bytes:
            chosen.remove(resident)
            spare_bytes -= resident.size_bytes
    freed_bytes = sum(r.size_bytes for r in chosen)
    return Eviction(tuple(r.digest for r in chosen), freed_bytes, max(0, excess_bytes - freed_bytes))


def _enough(warm: list[Resident], excess_bytes: int) -> list[Resident]:
    """The first of `warm` that together have at least `excess_bytes`; all of them when they have less."""
    chosen: list[Resident] = []
    for resident in warm:
        if excess_bytes <= 0:
            break
        chosen.append(resident)
        excess_bytes -= resident.size_bytes
    return chosen
