"""Latencies over budgets, as bars."""

from __future__ import annotations

from schedulerd.top.looks import KEPT, History, Look, sparkline


def look(**measured_ms: float | None) -> Look:
    apps = tuple({"app": app, "budget_ms": 20.0, "measured_p95_ms": ms} for app, ms in measured_ms.items())
    return Look({}, apps, {})


def test_latencies_are_kept_as_shares_of_the_budget_and_the_oldest_go_first() -> None:
    history = History()
    for number in range(KEPT + 5):
        history = history.after(look(cam=float(number)))
    assert history.ratios["cam"] == tuple(number / 20.0 for number in range(5, KEPT + 5))


def test_what_was_not_measured_has_no_bar_and_who_left_has_no_history() -> None:
    history = History().after(look(cam=None, door=10.0)).after(look(cam=10.0))
    assert history.ratios == {"cam": (None, 0.5)}
    assert History().after(Look({}, ({"app": "odd", "budget_ms": "?", "measured_p95_ms": 1},), {})).ratios == {
        "odd": (None,)
    }


def test_bars_grow_with_the_latency_and_end_at_the_top() -> None:
    assert sparkline((0.0, 0.5, 1.0, 1.2, 99.0, None)) == "▁▄▇██ "
