"""What the apps may use now, and what sets it: pure, from a snapshot, the configuration and the operator."""

from __future__ import annotations

from dataclasses import dataclass

from schedulerd.config import LimitsConfig
from schedulerd.control.snapshot import Snapshot
from schedulerd.optimizer.problem import Limits

UNREADABLE_BOARD_BYTES = 256 * 10**6
"""Memory limit where free memory cannot be read and nothing is configured."""

_STEP_BYTES = 10**6


@dataclass(frozen=True, slots=True)
class LimitsNow:
    """Limits of this moment; `memory_reason` names the one of all memory limits that is the least."""

    limits: Limits
    memory_reason: str


def limits_now(
    snapshot: Snapshot,
    configured: LimitsConfig,
    operator_memory_bytes: int | None,
    resident_bytes: int,
    *,
    lanes: int = 1,
) -> LimitsNow:
    """The least of all memory limits that are known; utilisation, power and lanes as configured.

    Args:
        snapshot: the present readings.
        configured: `[limits]` of the configuration.
        operator_memory_bytes: what `schedctl limit memory` asked for; None when it asked for nothing.
        resident_bytes: what our blocks and their activations hold already: not free any more, and yet ours to use.
        lanes: how many executor lanes share the utilisation.
    """
    known = {
        "the operator's limit": operator_memory_bytes,
        "[limits] memory": configured.memory_bytes,
        **_of_the_board(snapshot, configured, resident_bytes),
    }
    candidates = {reason: limit for reason, limit in known.items() if limit is not None}
    if not candidates:
        candidates = {"a fallback, because free memory cannot be read": UNREADABLE_BOARD_BYTES}
    reason = min(candidates, key=candidates.__getitem__)
    limits = Limits(
        memory_bytes=candidates[reason],
        utilisation_cap=configured.utilisation,
        lanes=lanes,
        power_cap_w=configured.power_w,
    )
    return LimitsNow(limits, reason)


def _of_the_board(snapshot: Snapshot, configured: LimitsConfig, resident_bytes: int) -> dict[str, int | None]:
    """What the board itself allows."""
    if snapshot.memory_available_bytes is None:
        return {}
    usable = snapshot.memory_available_bytes + resident_bytes
    auto = _step_down(configured.memory_share * usable) if configured.memory_bytes is None else None
    return {
        f"{configured.memory_share:.0%} of the board's free memory": auto,
        "the board's free memory less the reserve": _step_down(usable - configured.memory_reserve_bytes),
    }


def _step_down(amount_bytes: float) -> int:
    """Whole megabytes, so that the limit stands still while free memory trembles."""
    return max(0, int(amount_bytes // _STEP_BYTES) * _STEP_BYTES)
