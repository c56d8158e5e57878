"""Rows of variants become the cost of a route."""

from __future__ import annotations

from blockprofiles.compose import Cost, compose, resident_bytes
from blockprofiles.record import Row


def row(digest: str, latency_ms: float, p95_ms: float, memory_bytes: int) -> Row:
    """A row with these figures."""
    return Row(digest, "onnxruntime", 1, latency_ms, p95_ms, memory_bytes)


def test_times_add_up_and_equal_blobs_are_in_memory_once() -> None:
    """A blob that stands at two places runs twice, but is loaded once."""
    route = [row("a", 1.0, 1.5, 100), row("b", 2.0, 2.25, 50), row("a", 1.0, 1.5, 100)]
    assert compose(route) == Cost(latency_ms=4.0, latency_p95_ms=5.25, memory_bytes=150)


def test_blobs_shared_by_two_routes_are_counted_once() -> None:
    """Over all routes together."""
    first, second = [row("a", 1, 1, 100), row("b", 1, 1, 50)], [row("a", 1, 1, 100), row("c", 1, 1, 7)]
    assert resident_bytes([*first, *second]) == 157
