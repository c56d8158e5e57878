"""What the apps may use now, and what sets it. Pure.

It follows from a snapshot, the configuration, the operator, and what a squeeze or heat takes off.

Cores that other programs hold are taken off nowhere here. They make blocks slower, which the drift correction sees in
live timings, or expects of the profile's contention curves while there are none (`drift_watch`): the same work then
fills more of the lanes. To lower the utilisation as well would count them twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from schedulerd.config import LimitsConfig
from schedulerd.control.snapshot import Snapshot
from schedulerd.optimizer.problem import Limits

UNREADABLE_BOARD_BYTES: Final = 256 * 10**6
"""Memory limit where free memory cannot be read and nothing is configured."""
UNCONFINED_SHARE: Final = 0.75
"""Of the board's memory, for the whole daemon, where the kernel could not hold it to any limit."""

_STEP_BYTES = 10**6


class Cap(NamedTuple):
    """A limit that holds for a while, and what it is for."""

    value: float
    why: str


@dataclass(frozen=True, slots=True)
class Caps:
    """What a squeeze and heat leave; None where they take nothing."""

    memory_bytes: Cap | None = None
    utilisation: Cap | None = None
    power_w: Cap | None = None


NO_CAPS: Final = Caps()


@dataclass(frozen=True, slots=True)
class LimitsNow:
    """Limits of this moment."""

    limits: Limits
    reasons: Mapping[str, str]
    """For `memory`, `utilisation` and `power`, which of all that could limit it is the least."""


def limits_now(
    snapshot: Snapshot,
    configured: LimitsConfig,
    operator_memory_bytes: int | None,
    resident_bytes: int,
    *,
    lanes: int = 1,
    caps: Caps = NO_CAPS,
) -> LimitsNow:
    """The least of all limits that are known, each with its reason.

    Args:
        snapshot: the present readings.
        configured: `[limits]` of the configuration.
        operator_memory_bytes: what `schedctl limit memory` asked for; None when it asked for nothing.
        resident_bytes: what our blocks and their activations hold already: not free any more, and yet ours to use.
        lanes: how many executor lanes share the utilisation.
        caps: what a squeeze and heat leave.
    """
    memory = _memory(snapshot, configured, operator_memory_bytes, resident_bytes, caps.memory_bytes)
    utilisation = _least(Cap(configured.utilisation, "[limits] utilisation"), caps.utilisation)
    assert utilisation is not None, "it is always configured"
    power = _power(snapshot, configured, caps.power_w)
    limits = Limits(
        memory_bytes=int(memory.value),
        utilisation_cap=utilisation.value,
        lanes=lanes,
        power_cap_w=None if power is None else power.value,
    )
    without = "nothing limits it; see [limits] power_w"
    reasons = {"memory": memory.why, "utilisation": utilisation.why, "power": without if power is None else power.why}
    return LimitsNow(limits, reasons)


def board_memory(snapshot: Snapshot, configured: LimitsConfig, resident_bytes: int) -> Cap | None:
    """What the board itself allows to blocks and activations, whatever anybody wishes; None where it cannot be read."""
    return _least(*_of_the_board(snapshot, configured, resident_bytes))


def _memory(
    snapshot: Snapshot, configured: LimitsConfig, operator_bytes: int | None, resident_bytes: int, squeeze: Cap | None
) -> Cap:
    board = _least(board_memory(snapshot, configured, resident_bytes), squeeze)
    floor_bytes = configured.memory_floor_bytes or 0
    if board is not None and board.value < floor_bytes:
        board = Cap(floor_bytes, f"[limits] memory_floor, though the board has less: {board.why}")
    least = _least(
        None if operator_bytes is None else Cap(operator_bytes, "the operator's limit"),
        None if configured.memory_bytes is None else Cap(configured.memory_bytes, "[limits] memory"),
        board,
    )
    return least or Cap(UNREADABLE_BOARD_BYTES, "a fallback, because free memory cannot be read")


def _of_the_board(snapshot: Snapshot, configured: LimitsConfig, resident_bytes: int) -> Iterator[Cap]:
    if snapshot.memory_confined is False and snapshot.memory_total_bytes is not None:
        beside_bytes = max(0, (snapshot.memory_own_bytes or 0) - resident_bytes)
        yield Cap(
            _step_down(UNCONFINED_SHARE * snapshot.memory_total_bytes - beside_bytes),
            f"{UNCONFINED_SHARE:.0%} of the board's memory, as this kernel cannot confine the daemon (no memory "
            "cgroup): it limits itself",
        )
    if snapshot.memory_available_bytes is None:
        return
    usable_bytes = snapshot.memory_available_bytes + resident_bytes
    if configured.memory_bytes is None:
        share = configured.memory_share
        yield Cap(_step_down(share * usable_bytes), f"{share:.0%} of the board's free memory")
    reserve_bytes = configured.memory_reserve_bytes
    yield Cap(_step_down(usable_bytes - reserve_bytes), "the board's free memory less the reserve")


def _power(snapshot: Snapshot, configured: LimitsConfig, heat: Cap | None) -> Cap | None:
    battery, on_battery_w = snapshot.battery, configured.battery_power_w
    discharging = battery is not None and battery.discharging and on_battery_w is not None
    return _least(
        None if configured.power_w is None else Cap(configured.power_w, "[limits] power_w"),
        Cap(on_battery_w, "[limits] battery_power_w, as the battery discharges")
        if discharging and on_battery_w
        else None,
        heat,
    )


def _least(*caps: Cap | None) -> Cap | None:
    return min((cap for cap in caps if cap is not None), key=lambda cap: cap.value, default=None)


def _step_down(amount_bytes: float) -> int:
    """Whole megabytes, so that the limit stands still while free memory trembles."""
    return max(0, int(amount_bytes // _STEP_BYTES) * _STEP_BYTES)
