"""What the board can give, what the apps may use of it and do, and whether the daemon's threads come round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schedulerd.control.factors import promised
from schedulerd.metrics.family import Family, Sample, by_label, one
from schedulerd.metrics.view import View

CAUSES: Final = ("heat", "voltage", "current", "cap")
"""Why clocks may be held down (`readings.Throttle`)."""


def _pressure(view: View) -> Iterator[Sample]:
    pressure = view.now.snapshot.pressure
    if pressure is None:
        return
    for resource, stall in (("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)):
        if stall is not None:
            yield Sample((resource, "some"), stall.some)
            yield Sample((resource, "full"), stall.full)


def _zones(view: View) -> dict[str, float]:
    return {zone.name: zone.celsius for zone in view.now.snapshot.zones or ()}


def _trips(view: View) -> Iterator[Sample]:
    """A zone may have several trip points of one kind: the lowest."""
    lowest: dict[tuple[str, str], float] = {}
    for zone in view.now.snapshot.zones or ():
        for trip in zone.trips:
            key = zone.name, trip.kind
            lowest[key] = min(trip.celsius, lowest.get(key, trip.celsius))
    for labels, celsius in lowest.items():
        yield Sample(labels, celsius)


def _throttled(view: View) -> dict[str, float] | None:
    throttle = view.now.snapshot.throttle
    return None if throttle is None else {cause: float(cause in throttle.causes) for cause in CAUSES}


def _clocks(view: View) -> float | None:
    throttle = view.now.snapshot.throttle
    return None if throttle is None else throttle.clock_share


def _rails(view: View) -> dict[str, float]:
    return {rail.name: rail.power_w for rail in view.now.snapshot.rails or ()}


def _charge(view: View) -> float | None:
    battery = view.now.snapshot.battery
    return None if battery is None else battery.charge


def _discharging(view: View) -> float | None:
    battery = view.now.snapshot.battery
    return None if battery is None else float(battery.discharging)


def _round_trip(view: View) -> float | None:
    peer = view.now.snapshot.peer
    return None if peer is None or peer.round_trip_ms is None else peer.round_trip_ms / 1e3


FAMILIES: Final = (
    one(
        "schedulerd_slowdown_ratio",
        "gauge",
        "Measured over profiled time of blocks, the median; 1 on a quiet board.",
        lambda view: view.now.board.median,
    ),
    one(
        "schedulerd_slowdown_p95_ratio",
        "gauge",
        "The same at the 95th percentile, as plans reckon with it.",
        lambda view: promised(view.now.board.p95),
    ),
    one(
        "schedulerd_resident_bytes",
        "gauge",
        "Blocks and heads of exits in memory, in use or kept warm.",
        lambda view: view.now.resident_bytes,
    ),
    by_label(
        "schedulerd_variants",
        "gauge",
        "Variants, heads and merged sessions in memory, by state.",
        "state",
        lambda view: dict(view.now.states),
    ),
    one(
        "schedulerd_memory_limit_bytes",
        "gauge",
        "What blocks and their activations may take now.",
        lambda view: view.now.limits.limits.memory_bytes,
    ),
    one(
        "schedulerd_utilisation_limit_ratio",
        "gauge",
        "Share of the lanes' time that plans may use now.",
        lambda view: view.now.limits.limits.utilisation_cap,
    ),
    one(
        "schedulerd_power_limit_watts",
        "gauge",
        "Power that the apps may draw now; absent where nothing limits it.",
        lambda view: view.now.limits.limits.power_cap_w,
    ),
    one(
        "schedulerd_memory_available_bytes",
        "gauge",
        "Memory that the board, or a cgroup above the daemon, has left.",
        lambda view: view.now.snapshot.memory_available_bytes,
    ),
    one(
        "schedulerd_cpu_busy_ratio",
        "gauge",
        "Share of all cores that anybody uses.",
        lambda view: view.now.snapshot.cpu_busy,
    ),
    one(
        "schedulerd_cpu_others_ratio",
        "gauge",
        "Share of all cores that other programs take from the daemon.",
        lambda view: view.now.snapshot.cpu_others,
    ),
    Family(
        "schedulerd_pressure_ratio",
        "gauge",
        "Share of time in which some tasks, or all of them (`full`), stood still for want of a resource.",
        _pressure,
        ("resource", "tasks"),
    ),
    by_label("schedulerd_zone_celsius", "gauge", "Temperature of a thermal zone.", "zone", _zones),
    Family(
        "schedulerd_zone_trip_celsius",
        "gauge",
        "Temperature at which the kernel acts, by what it does then.",
        _trips,
        ("zone", "kind"),
    ),
    by_label("schedulerd_throttled", "gauge", "1 while this cause holds the clocks down, else 0.", "cause", _throttled),
    one(
        "schedulerd_clock_ratio",
        "gauge",
        "The lowest core's clock over what was asked for.",
        _clocks,
    ),
    one(
        "schedulerd_learned_clock_ratio",
        "gauge",
        "The clock that the board is known to keep for long, by earlier throttles.",
        lambda view: view.now.learned.clock_share,
    ),
    one("schedulerd_board_power_watts", "gauge", "Power of the whole board.", lambda view: view.now.snapshot.power_w),
    by_label("schedulerd_rail_power_watts", "gauge", "Power of one supply.", "rail", _rails),
    one("schedulerd_battery_ratio", "gauge", "What is left in the battery.", _charge),
    one("schedulerd_battery_discharging", "gauge", "1 while the battery discharges, else 0.", _discharging),
    one("schedulerd_peer_round_trip_seconds", "gauge", "To `[board] peer` and back, at the last probe.", _round_trip),
    by_label(
        "schedulerd_unread",
        "gauge",
        "1 for each source of readings that failed at the last look (`schedctl status` says why).",
        "source",
        lambda view: {unread.source: 1.0 for unread in view.now.snapshot.unread},
    ),
    one("schedulerd_look_age_seconds", "gauge", "Since the control loop looked at the board.", lambda view: view.age_s),
    by_label(
        "schedulerd_thread_silence_seconds",
        "gauge",
        "Since a thread has come round; a lane comes round at every block, and twice a second while it waits.",
        "thread",
        lambda view: view.silence_s,
    ),
)
