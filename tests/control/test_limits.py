"""What the apps may use: the least of all limits, and the reason for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.config import LimitsConfig
from schedulerd.control.limits import UNREADABLE_BOARD_BYTES, Cap, Caps, limits_now
from schedulerd.control.readings import Battery
from schedulerd.control.snapshot import Snapshot

MB = 10**6
AUTO = LimitsConfig(memory_share=0.5, memory_reserve_bytes=64 * MB)


def board(available_bytes: int | None) -> Snapshot:
    return Snapshot(at_s=0.0, cpu_count=2, memory_available_bytes=available_bytes)


def test_auto_takes_its_share_of_what_is_free() -> None:
    now = limits_now(board(800 * MB), AUTO, None, 0)
    assert now.limits.memory_bytes == 400 * MB
    assert now.reasons["memory"] == "50% of the board's free memory"


def test_power_is_capped_as_configured() -> None:
    assert limits_now(board(800 * MB), AUTO, None, 0).limits.power_cap_w is None
    assert limits_now(board(800 * MB), LimitsConfig(power_w=3.5), None, 0).limits.power_cap_w == 3.5


def test_what_our_blocks_hold_counts_as_ours() -> None:
    assert limits_now(board(700 * MB), AUTO, None, 100 * MB).limits.memory_bytes == 400 * MB


def test_the_operators_limit_counts_when_it_is_the_least() -> None:
    now = limits_now(board(800 * MB), AUTO, 80 * MB, 0)
    assert (now.limits.memory_bytes, now.reasons["memory"]) == (80 * MB, "the operator's limit")


def test_the_operator_cannot_lift_what_the_configuration_sets() -> None:
    configured = LimitsConfig(memory_bytes=100 * MB)
    now = limits_now(board(800 * MB), configured, 200 * MB, 0)
    assert (now.limits.memory_bytes, now.reasons["memory"]) == (100 * MB, "[limits] memory")


def test_a_configured_limit_gives_way_to_the_reserve() -> None:
    configured = LimitsConfig(memory_bytes=700 * MB, memory_reserve_bytes=64 * MB)
    now = limits_now(board(264 * MB), configured, None, 0)
    assert (now.limits.memory_bytes, now.reasons["memory"]) == (200 * MB, "the board's free memory less the reserve")


def test_a_board_that_is_full_leaves_nothing_and_never_less() -> None:
    assert limits_now(board(10 * MB), AUTO, None, 0).limits.memory_bytes == 0


def test_memory_that_cannot_be_read_falls_back_and_says_so() -> None:
    now = limits_now(board(None), AUTO, None, 0)
    assert now.limits.memory_bytes == UNREADABLE_BOARD_BYTES
    assert "cannot be read" in now.reasons["memory"]


def test_memory_that_cannot_be_read_leaves_what_was_asked_for() -> None:
    assert limits_now(board(None), AUTO, 80 * MB, 0).limits.memory_bytes == 80 * MB


@pytest.mark.parametrize("tremble_bytes", [0, 4096, 900_000])
def test_the_limit_stands_still_while_free_memory_trembles(tremble_bytes: int) -> None:
    assert limits_now(board(800 * MB + tremble_bytes), AUTO, None, 0).limits.memory_bytes == 400 * MB


def test_utilisation_and_lanes_are_passed_on() -> None:
    limits = limits_now(board(800 * MB), LimitsConfig(utilisation=0.6), None, 0, lanes=3).limits
    assert (limits.utilisation_cap, limits.lanes) == (0.6, 3)


# Reasons.


def test_every_limit_has_a_reason() -> None:
    reasons = limits_now(board(800 * MB), AUTO, None, 0).reasons
    assert reasons["utilisation"] == "[limits] utilisation"
    assert "nothing limits it" in reasons["power"]
    assert limits_now(board(800 * MB), LimitsConfig(power_w=3.5), None, 0).reasons["power"] == "[limits] power_w"


def test_the_floor_holds_against_the_board_and_says_so() -> None:
    floored = replace(AUTO, memory_floor_bytes=20 * MB)
    now = limits_now(board(70 * MB), floored, None, 0)
    assert now.limits.memory_bytes == 20 * MB
    assert now.reasons["memory"].startswith("[limits] memory_floor, though the board has less")
    squeezed = Caps(memory_bytes=Cap(5 * MB, "a squeeze"))
    assert limits_now(board(800 * MB), floored, None, 0, caps=squeezed).limits.memory_bytes == 20 * MB


def test_the_floor_is_no_wish_against_the_operator() -> None:
    floored = replace(AUTO, memory_floor_bytes=20 * MB)
    now = limits_now(board(70 * MB), floored, 8 * MB, 0)
    assert (now.limits.memory_bytes, now.reasons["memory"]) == (8 * MB, "the operator's limit")


def test_a_kernel_that_cannot_confine_the_daemon_is_no_reason_to_take_all() -> None:
    free = replace(board(900 * MB), memory_total_bytes=1000 * MB, memory_own_bytes=150 * MB)
    configured = LimitsConfig(memory_bytes=800 * MB)
    assert limits_now(replace(free, memory_confined=True), configured, None, 50 * MB).limits.memory_bytes == 800 * MB
    now = limits_now(replace(free, memory_confined=False), configured, None, 50 * MB)
    assert now.limits.memory_bytes == 650 * MB, "three quarters, less what the daemon holds beside its blocks"
    assert "cannot confine" in now.reasons["memory"]


def test_whether_the_kernel_could_confine_the_daemon_may_be_unknown() -> None:
    free = replace(board(900 * MB), memory_total_bytes=1000 * MB)
    assert limits_now(free, LimitsConfig(memory_bytes=800 * MB), None, 0).limits.memory_bytes == 800 * MB


def test_a_squeeze_and_heat_count_where_they_leave_the_least() -> None:
    caps = Caps(Cap(100 * MB, "a squeeze: why"), Cap(0.3, "heat: why"), Cap(1.5, "heat: why"))
    now = limits_now(board(800 * MB), LimitsConfig(power_w=2.0), None, 0, caps=caps)
    assert (now.limits.memory_bytes, now.limits.utilisation_cap, now.limits.power_cap_w) == (100 * MB, 0.3, 1.5)
    assert now.reasons == {"memory": "a squeeze: why", "utilisation": "heat: why", "power": "heat: why"}
    wide = Caps(Cap(10**12, "a squeeze: why"), Cap(0.9, "heat: why"), Cap(9.5, "heat: why"))
    now = limits_now(board(800 * MB), LimitsConfig(power_w=2.0), None, 0, caps=wide)
    assert (now.limits.memory_bytes, now.limits.utilisation_cap, now.limits.power_cap_w) == (400 * MB, 0.8, 2.0)


def test_a_squeeze_counts_though_free_memory_cannot_be_read() -> None:
    caps = Caps(memory_bytes=Cap(30 * MB, "a squeeze: work stood still"))
    assert limits_now(board(None), AUTO, None, 0, caps=caps).limits.memory_bytes == 30 * MB


@pytest.mark.parametrize(("battery", "cap_w"), [(None, 4.0), (Battery(0.5, False), 4.0), (Battery(0.5, True), 1.5)])
def test_a_battery_that_discharges_lowers_the_power_cap(battery: Battery | None, cap_w: float) -> None:
    configured = LimitsConfig(power_w=4.0, battery_power_w=1.5)
    assert limits_now(replace(board(MB), battery=battery), configured, None, 0).limits.power_cap_w == cap_w
    assert limits_now(replace(board(MB), battery=battery), LimitsConfig(), None, 0).limits.power_cap_w is None


def test_cores_that_others_hold_are_not_counted_twice() -> None:
    """They make blocks slower, which is in the times; the share of the lanes stays."""
    busy = replace(board(800 * MB), cpu_busy=0.9, cpu_own=0.1)
    assert limits_now(busy, LimitsConfig(utilisation=0.6), None, 0).limits.utilisation_cap == 0.6
