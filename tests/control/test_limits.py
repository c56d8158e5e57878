"""What the apps may use: the least of all limits, and its name."""

from __future__ import annotations

import pytest

from schedulerd.config import LimitsConfig
from schedulerd.control.limits import UNREADABLE_BOARD_BYTES, limits_now
from schedulerd.control.snapshot import Snapshot

MB = 10**6
AUTO = LimitsConfig(memory_share=0.5, memory_reserve_bytes=64 * MB)


def board(available_bytes: int | None) -> Snapshot:
    return Snapshot(at_s=0.0, cpu_count=2, memory_available_bytes=available_bytes)


def test_auto_takes_its_share_of_what_is_free() -> None:
    now = limits_now(board(800 * MB), AUTO, None, 0)
    assert now.limits.memory_bytes == 400 * MB
    assert now.memory_reason == "50% of the board's free memory"


def test_power_is_capped_as_configured() -> None:
    assert limits_now(board(800 * MB), AUTO, None, 0).limits.power_cap_w is None
    assert limits_now(board(800 * MB), LimitsConfig(power_w=3.5), None, 0).limits.power_cap_w == 3.5


def test_what_our_blocks_hold_counts_as_ours() -> None:
    assert limits_now(board(700 * MB), AUTO, None, 100 * MB).limits.memory_bytes == 400 * MB


def test_the_operators_limit_counts_when_it_is_the_least() -> None:
    now = limits_now(board(800 * MB), AUTO, 80 * MB, 0)
    assert (now.limits.memory_bytes, now.memory_reason) == (80 * MB, "the operator's limit")


def test_the_operator_cannot_lift_what_the_configuration_sets() -> None:
    configured = LimitsConfig(memory_bytes=100 * MB)
    now = limits_now(board(800 * MB), configured, 200 * MB, 0)
    assert (now.limits.memory_bytes, now.memory_reason) == (100 * MB, "[limits] memory")


def test_a_configured_limit_gives_way_to_the_reserve() -> None:
    configured = LimitsConfig(memory_bytes=700 * MB, memory_reserve_bytes=64 * MB)
    now = limits_now(board(264 * MB), configured, None, 0)
    assert (now.limits.memory_bytes, now.memory_reason) == (200 * MB, "the board's free memory less the reserve")


def test_a_board_that_is_full_leaves_nothing_and_never_less() -> None:
    assert limits_now(board(10 * MB), AUTO, None, 0).limits.memory_bytes == 0


def test_memory_that_cannot_be_read_falls_back_and_says_so() -> None:
    now = limits_now(board(None), AUTO, None, 0)
    assert now.limits.memory_bytes == UNREADABLE_BOARD_BYTES
    assert "cannot be read" in now.memory_reason


def test_memory_that_cannot_be_read_leaves_what_was_asked_for() -> None:
    assert limits_now(board(None), AUTO, 80 * MB, 0).limits.memory_bytes == 80 * MB


@pytest.mark.parametrize("tremble_bytes", [0, 4096, 900_000])
def test_the_limit_stands_still_while_free_memory_trembles(tremble_bytes: int) -> None:
    assert limits_now(board(800 * MB + tremble_bytes), AUTO, None, 0).limits.memory_bytes == 400 * MB


def test_utilisation_and_lanes_are_passed_on() -> None:
    limits = limits_now(board(800 * MB), LimitsConfig(utilisation=0.6), None, 0, lanes=3).limits
    assert (limits.utilisation_cap, limits.lanes) == (0.6, 3)
