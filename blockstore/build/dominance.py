"""Which variants of a block nobody would ever choose: slower, larger and worse than another one of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is compared of a variant."""

    name: str
    latency_ms: float
    size_bytes: int
    damage: float
    engines: frozenset[str]
    """Those that run it."""

    def beats(self, other: Candidate) -> bool:
        """At least as good in everything, better in something, and at hand wherever the other one is."""
        ours, theirs = self._costs(), other._costs()
        at_hand = self.engines >= other.engines
        return at_hand and ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    def _costs(self) -> tuple[float, int, float]:
        return self.latency_ms, self.size_bytes, self.damage


def dominated(variants: Sequence[Candidate]) -> dict[str, str]:
    """Name of each variant that another beats -> the one that beats it; `variants[0]`, the original, stays.

    The one named is itself not beaten.
    """
    beaten = {v.name for v in variants[1:] if any(o.beats(v) for o in variants)}
    standing = [v for v in variants if v.name not in beaten]
    return {v.name: next(o.name for o in standing if o.beats(v)) for v in variants[1:] if v.name in beaten}
