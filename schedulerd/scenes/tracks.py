"""Where the played sensors stand at a moment, and what that means in bytes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from schedulerd.config import LimitsConfig
from schedulerd.scenes.script import RESTING, Ramp, Restore


@dataclass(frozen=True, slots=True)
class Slope:
    """From one value to another at an even pace, and then it stays."""

    begin_s: float
    over_s: float
    start: float
    end: float

    def at(self, now_s: float) -> float:
        """The value at a moment; before the beginning it is the first."""
        if now_s >= self.begin_s + self.over_s:
            return self.end
        return self.start + (self.end - self.start) * max(0.0, now_s - self.begin_s) / self.over_s

    def reaches_s(self, value: float) -> float:
        """When it is at a value: at its beginning where it is beyond it by then, never after its end."""
        if self.end == self.start:
            return self.begin_s
        share = (value - self.start) / (self.end - self.start)
        return self.begin_s + self.over_s * min(1.0, max(0.0, share))


class Tracks:
    """The present slope of every sensor that a scene plays."""

    def __init__(self, played: frozenset[str]) -> None:
        self._slopes: Mapping[str, Slope] = {what: Slope(0.0, 0.0, RESTING[what], RESTING[what]) for what in played}
        self._moved: frozenset[str] = frozenset()

    def moved(self, what: str) -> bool:
        """Whether a sensor is anywhere but at rest: memory at rest is the machine's own."""
        return what in self._moved

    def at(self, what: str, now_s: float) -> float:
        """Value of a sensor."""
        return self._slopes[what].at(now_s)

    def values(self, now_s: float) -> dict[str, float]:
        """Of all that are played."""
        return {what: slope.at(now_s) for what, slope in sorted(self._slopes.items())}

    def begin(self, ramp: Ramp, now_s: float) -> Slope:
        """A ramp begins now."""
        start = self.at(ramp.what, now_s) if ramp.start is None else ramp.start
        slope = Slope(now_s, ramp.over_s, start, ramp.to)
        self._slopes = {**self._slopes, ramp.what: slope}
        self._moved |= {ramp.what}
        return slope

    def restore(self, action: Restore) -> None:
        """A sensor is at rest again."""
        rest = RESTING[action.what]
        self._slopes = {**self._slopes, action.what: Slope(0.0, 0.0, rest, rest)}
        self._moved -= {action.what}


class Warmth:
    """A thermal zone that its surroundings and the daemon's work warm: one thermal resistance, one capacity.

    At constant power its temperature tends to `ambient + resistance * power`, exponentially (arXiv:1410.0628).
    """

    def __init__(self, per_core_c: float, heats_up_s: float) -> None:
        self._per_core_c = per_core_c
        self._heats_up_s = heats_up_s
        self._celsius: float | None = None

    def after(self, passed_s: float, ambient_c: float, busy_cores: float) -> float:
        """Its temperature after a time in which so many cores were busy."""
        tends_to_c = ambient_c + self._per_core_c * busy_cores
        before_c = ambient_c if self._celsius is None else self._celsius
        self._celsius = tends_to_c + (before_c - tends_to_c) * math.exp(-passed_s / self._heats_up_s)
        return self._celsius


@dataclass(frozen=True, slots=True)
class Room:
    """A board whose memory is played: what the apps' blocks may take is a share of what they took at first.

    The daemon sets its reserve aside before its blocks get any, and what it frees is free for others too.
    """

    start_use_bytes: float
    """Of the blocks that routes ran when it was first played. Activations come on top: small variants need them too."""
    resident_bytes: float
    """What blocks hold when this is played, those that are only kept warm among them."""
    used_bytes: float
    """What the whole process holds then."""
    limits: LimitsConfig

    def total_bytes(self, share: float) -> float:
        """What the process may take in all, reserve included, so that its blocks have `share` of their first use."""
        wanted_bytes = share * self.start_use_bytes
        usable = wanted_bytes + self.limits.memory_reserve_bytes
        if self.limits.memory_bytes is None:
            usable = max(usable, wanted_bytes / self.limits.memory_share)
        return self.used_bytes - self.resident_bytes + usable
