"""Follows the board's memory and heat from look to look: what a squeeze and heat leave to the apps, and since when.

The deciding is `squeeze`'s and `heat`'s, which are pure; here are the trends that they are given, and their state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from schedulerd.config import LimitsConfig
from schedulerd.control.heat import Heat, HeatSeen, HeatSettings, Throttled, ZoneSeen, heated
from schedulerd.control.learned_heat import Learned, Memory, after_full_clocks, after_throttle
from schedulerd.control.limits import Cap, Caps, board_memory
from schedulerd.control.readings import Throttle, Zone
from schedulerd.control.smoothing import Trend
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.squeeze import MemorySeen, Squeeze, SqueezeSettings, squeezed
from schedulerd.errors import Overloaded
from schedulerd.plan import Plan

MEMORY_TREND_S = 2.0
HEAT_TREND_S = 10.0
ZONE_EVERY_S = 0.5
"""A zone's heat is looked at no more often: its trend is over many seconds."""
LEAST_TRIP_C = 40.0
"""Trip points below this are left alone, learned ones too: firmware writes them where there is none, and summers reach
them."""
TRIP_KINDS = ("passive", "hot")
"""Those at which clocks are lowered; `active` starts a fan, and at `critical` it is far too late."""

Put = Callable[[Callable[[], None]], None]


class BoardWatch:
    """What is taken off the limits for now; the control thread is the only caller."""

    def __init__(self, configured: LimitsConfig, memory: Memory | None = None, aside: Put | None = None) -> None:
        """Nothing is taken off yet.

        Args: configured: `[limits]`; memory: where it is kept what a throttle teaches, None to forget it with the
        process; aside: runs what writes it, as that waits for a disk; None for at once.
        """
        self._squeeze = Squeeze()
        self._squeeze_settings = SqueezeSettings()
        self._free = Trend(MEMORY_TREND_S)
        self._warmth = _Warmth()
        self._heat = Heat()
        self.configure(configured)
        self._memory = memory
        self._put = aside or (lambda job: job())
        self._learned = memory.load() if memory is not None else Learned()
        self._kept = self._learned
        self._throttled: Throttled | None = None
        self.caps = Caps()

    def configure(self, configured: LimitsConfig) -> None:
        """From the next look on these are the `[limits]`."""
        self._configured = configured
        margin_c = configured.heat_margin_c
        self._heat_settings = HeatSettings() if margin_c is None else HeatSettings(margin_c=margin_c)

    def look(self, snapshot: Snapshot, plan: Plan, held_bytes: int) -> None:
        """Take in a look at the board, while `plan` runs and our blocks and activations hold so much."""
        self._look_at_memory(snapshot, held_bytes)
        self._look_at_heat(snapshot, plan)
        squeeze, heat = self._squeeze, self._heat
        self.caps = Caps(
            None if squeeze.limit_bytes is None else Cap(squeeze.limit_bytes, f"a squeeze: {squeeze.why}"),
            None if heat.utilisation is None else Cap(heat.utilisation, f"heat: {heat.why}"),
            None if heat.power_w is None else Cap(heat.power_w, f"heat: {heat.why}"),
        )

    @property
    def standing(self) -> tuple[str, ...]:
        """What presses for longer than it takes to follow it; each is the same text for as long as it lasts."""
        said = (self.caps.memory_bytes, "memory is squeezed"), (self.caps.utilisation, "the board is hot")
        return tuple(text for cap, text in said if cap is not None)

    @property
    def learned(self) -> Learned:
        """What throttles have taught."""
        return self._learned

    # Memory.

    def _look_at_memory(self, snapshot: Snapshot, held_bytes: int) -> None:
        board = board_memory(snapshot, self._configured, held_bytes)
        if snapshot.memory_available_bytes is not None:
            self._free.add(_read_at(snapshot, "memory_available_bytes"), snapshot.memory_available_bytes + held_bytes)
        stall = snapshot.pressure.memory if snapshot.pressure is not None else None
        seen = MemorySeen(
            at_s=snapshot.at_s,
            allowed_bytes=None if board is None else int(board.value),
            slope_per_s=self._free.lasting_slope_per_s(),
            held_bytes=held_bytes,
            stalled=None if stall is None else stall.some,
            floor_bytes=self._configured.memory_floor_bytes or 0,
        )
        self._squeeze = squeezed(self._squeeze, seen, self._squeeze_settings)

    # Heat.

    def _look_at_heat(self, snapshot: Snapshot, plan: Plan) -> None:
        self._warmth.add(snapshot)
        used = plan.utilisation if plan.apps else 0.0
        before = self._throttled
        self._throttled = _throttled(before, snapshot.throttle, used)
        if self._throttled is not None:
            zones = self._warmth.risen() if before is None else ()
            self._learn(after_throttle(self._learned, zones, self._throttled.clock_share, self._throttled.used))
        elif snapshot.throttle is not None:
            self._learn(after_full_clocks(self._learned, self._warmth.risen()))
        forewarned = self._configured.heat_margin_c is not None
        seen = HeatSeen(
            at_s=snapshot.at_s,
            zones=self._warmth.zones(self._learned) if forewarned else (),
            used=used,
            used_w=_power_w(plan),
            throttled=self._throttled,
            sustained=self._learned.sustained,
        )
        self._heat = heated(self._heat, seen, self._heat_settings)

    def _learn(self, learned: Learned) -> None:
        self._learned = learned
        if self._memory is not None and learned != self._kept:
            try:
                self._put(partial(self._memory.save, learned))
            except Overloaded:  # operators ask; a later look will do
                return
            self._kept = learned


class _Warmth:
    """Thermal zones over time."""

    def __init__(self) -> None:
        self._zones: tuple[Zone, ...] = ()
        self._trends: dict[str, Trend] = {}
        self._coolest_c: dict[str, float] = {}
        self._added_at_s = -math.inf

    def add(self, snapshot: Snapshot) -> None:
        """Take in the zones of a look; where they cannot be read there are none."""
        self._zones = snapshot.zones or ()
        at_s = _read_at(snapshot, "zones")
        if 0.0 <= at_s - self._added_at_s < ZONE_EVERY_S:
            return
        self._added_at_s = at_s
        for zone in self._zones:
            self._trends.setdefault(zone.name, Trend(HEAT_TREND_S)).add(at_s, zone.celsius)
            self._coolest_c[zone.name] = min(self._coolest_c.get(zone.name, zone.celsius), zone.celsius)

    def zones(self, learned: Learned) -> tuple[ZoneSeen, ...]:
        """Those whose clocks fall at a temperature that is known."""
        seen = []
        for zone in self._zones:
            said = [trip.celsius for trip in zone.trips if trip.kind in TRIP_KINDS and trip.celsius >= LEAST_TRIP_C]
            known = learned.trip_c(zone.name)
            trip_c = min([*said, *([] if known is None or known < LEAST_TRIP_C else [known])], default=None)
            trend = self._trends.get(zone.name)
            if trip_c is not None and trend is not None:
                coolest_c = self._coolest_c[zone.name]
                seen.append(ZoneSeen(zone.name, zone.celsius, trend.slope_per_s(), trip_c, coolest_c))
        return tuple(seen)

    def risen(self) -> list[tuple[str, float, float]]:
        """Name, temperature, and the coolest that was seen, of every zone."""
        return [(zone.name, zone.celsius, self._coolest_c.get(zone.name, zone.celsius)) for zone in self._zones]


def _throttled(before: Throttled | None, now: Throttle | None, used: float) -> Throttled | None:
    """Of one spell: what was used when it began, and the lowest clocks since."""
    if now is None or "heat" not in now.causes:
        return None
    clock_share = 1.0 if now.clock_share is None else now.clock_share
    if before is None:
        return Throttled(used, clock_share)
    return Throttled(before.used, min(before.clock_share, clock_share))


def _read_at(snapshot: Snapshot, field: str) -> float:
    """When a reading was made; a source that is read seldom gives the same one again."""
    origin = snapshot.origins.get(field)
    return snapshot.at_s if origin is None else origin.at_s


def _power_w(plan: Plan) -> float | None:
    """What the plan is predicted to draw; None where that is not known of every app."""
    total_w = 0.0
    for app in plan.apps:
        if app.energy_mj is None or app.expected_ms <= 0:
            return None
        total_w += app.utilisation * app.energy_mj / app.expected_ms
    return total_w if plan.apps else None
