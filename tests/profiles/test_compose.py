"""Rows of variants become the cost of a route."""

from __future__ import annotations

import pytest

from blockprofiles.compose import Cost, compose, resident_bytes
from blockprofiles.record import Row


def row(
    digest: str, latency_ms: float, p95_ms: float, memory_bytes: int, cold_ms: float | None = None, arena: int = 0
) -> Row:
    """A row with these figures."""
    return Row(
        digest, "onnxruntime", 1, latency_ms, p95_ms, memory_bytes=memory_bytes, cold_ms=cold_ms, arena_bytes=arena
    )


ROUTE = [row("a", 1.0, 1.5, 100, cold_ms=1.25), row("b", 2.0, 2.25, 50), row("a", 1.0, 1.5, 100, cold_ms=1.25)]


def test_times_add_up_and_equal_blobs_are_in_memory_once() -> None:
    """A blob that stands at two places runs twice, but is loaded once."""
    assert compose(ROUTE, alone=True) == Cost(latency_ms=4.0, latency_p95_ms=5.25, memory_bytes=150, cold_ms=4.5)


def test_a_route_that_takes_turns_with_others_finds_the_caches_full_of_them() -> None:
    """Its usual latency is the cold one; where that was not measured, the warm one is the nearest that is known."""
    assert compose(ROUTE, alone=False).latency_ms == 4.5


def test_blobs_shared_by_two_routes_are_counted_once() -> None:
    """Over all routes together."""
    first, second = [row("a", 1, 1, 100), row("b", 1, 1, 50)], [row("a", 1, 1, 100), row("c", 1, 1, 7)]
    assert resident_bytes([*first, *second]) == 157


@pytest.mark.parametrize(("lanes", "expected"), [(1, 106 + 30), (2, 106 + 2 * 30)])
def test_blocks_take_turns_in_the_arena(lanes: int, expected: int) -> None:
    """It holds what the one with the most activations needs, on every lane."""
    rows = [row("a", 1, 1, 100, arena=20), row("b", 1, 1, 5, arena=30), row("c", 1, 1, 1, arena=5)]
    assert resident_bytes([*rows, rows[1]], lanes) == expected
