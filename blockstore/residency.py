"""Whom to evict when memory is short. Pure: the switcher does what this says.

May be evicted: what is warm, that is loaded but on no route. Never: what is pinned by a route, by a request
in flight, or by a plan that is about to use it.

The order is that of GreedyDual-Size-Frequency (Cherkasova, HP Labs HPL-98-69R1, 1998, after GreedyDual-Size of Cao and
Irani, USENIX USITS 1997): what saves the least time for its bytes goes first. A clock, which rises to the value of
what was evicted last, lets the value of what nobody has used since then fall behind.
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
    value: float
    """`value_of` when it was used last; -inf for what goes before anything else."""
    last_used_s: float
    """Monotonic seconds; decides between equal values."""
    pinned: bool


@dataclass(frozen=True, slots=True)
class Eviction:
    """What to let go, and whether that is enough."""

    digests: tuple[str, ...]
    """In the order of choice, least value first."""
    freed_bytes: int
    short_bytes: int = 0
    """By how much the limit is still exceeded when all that may go has gone; 0 when all fits."""
    highest: float | None = None
    """The largest value that goes: the clock rises to it. None where nothing goes."""


def value_of(clock: float, uses: int, load_ms: float, size_bytes: int) -> float:
    """What it is worth to keep a variant that is used now: `clock + uses * load_ms / size_bytes`, as in GDSF.

    Args: clock: the largest value that has been evicted, 0 at first; uses: routes that it has been on since it was
    loaded; load_ms: what loading it took; size_bytes.
    """
    return clock + uses * load_ms / max(1, size_bytes)


def evict(residents: Iterable[Resident], needed_bytes: int, limit_bytes: int) -> Eviction:
    """Choose warm residents to let go, so that the rest and `needed_bytes` more fit in `limit_bytes`.

    Least value goes first, of equal value the longest unused, of equal age the larger. Then whatever turns out to have
    been chosen in vain stays, the most valuable first: one large blob often makes the small ones before it needless.
    """
    residents = tuple(residents)
    excess_bytes = sum(r.size_bytes for r in residents) + needed_bytes - limit_bytes
    warm = sorted(
        (r for r in residents if not r.pinned), key=lambda r: (r.value, r.last_used_s, -r.size_bytes, r.digest)
    )
    chosen = _enough(warm, excess_bytes)
    spare_bytes = sum(r.size_bytes for r in chosen) - excess_bytes
    for resident in reversed(chosen.copy()):
        if resident.size_bytes <= spare_bytes:
            chosen.remove(resident)
            spare_bytes -= resident.size_bytes
    freed_bytes = sum(r.size_bytes for r in chosen)
    return Eviction(
        digests=tuple(r.digest for r in chosen),
        freed_bytes=freed_bytes,
        short_bytes=max(0, excess_bytes - freed_bytes),
        highest=max((r.value for r in chosen), default=None),
    )


def _enough(warm: list[Resident], excess_bytes: int) -> list[Resident]:
    """The first of `warm` that together have at least `excess_bytes`; all of them when they have less."""
    chosen: list[Resident] = []
    for resident in warm:
        if excess_bytes <= 0:
            break
        chosen.append(resident)
        excess_bytes -= resident.size_bytes
    return chosen
