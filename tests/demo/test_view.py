"""What the demo's table shows."""

from __future__ import annotations

from schedulerd.cells import route_in_short


def test_a_route_is_short_whatever_its_variants_are_called() -> None:
    assert route_in_short(("original", "prune:0.5", "prune:0.875", "prune-50", "int8")) == "full 50 88 50 int8"
    assert route_in_short(()) == "-"
