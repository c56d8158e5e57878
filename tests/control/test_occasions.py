"""When to plan anew although nobody asked: limits that have changed, and what was put off."""

from __future__ import annotations

from dataclasses import replace

from schedulerd.control.limits import LimitsNow
from schedulerd.control.occasions import Cause, Occasions
from schedulerd.optimizer.problem import Limits
from schedulerd.plan import EMPTY_PLAN

MB = 10**6
PLAN = replace(EMPTY_PLAN, number=1, memory_bytes=50 * MB, utilisation=0.5)
BOUND = replace(PLAN, binding=("memory", "utilisation", "power"))
ROOM = Limits(memory_bytes=60 * MB, utilisation_cap=0.8)
REASONS = {"memory": "a hog", "utilisation": "heat", "power": "the battery discharges"}


def decided(limits: Limits) -> Occasions:
    """After a decision under these limits."""
    made = Occasions()
    made.decided(limits)
    return made


def after(before: Limits, now: Limits, plan: object = PLAN) -> list[str]:
    """What is said of limits that have changed since a decision."""
    return [*decided(before).limits(plan, LimitsNow(now, REASONS))]  # type: ignore[arg-type]  # a plan


def memory(limit_mb: int) -> Limits:
    return replace(ROOM, memory_bytes=limit_mb * MB)


def lanes(cap: float) -> Limits:
    return replace(ROOM, utilisation_cap=cap)


def watts(cap_w: float | None) -> Limits:
    return replace(ROOM, power_cap_w=cap_w)


def test_a_limit_that_falls_below_what_runs_is_pressure() -> None:
    assert after(memory(60), memory(45)) == ["memory pressure: 5.0 MB over what is available (a hog)"]
    assert after(memory(60), memory(55)) == []


def test_a_limit_that_was_planned_with_is_no_news_though_nothing_fits_it() -> None:
    assert after(memory(45), memory(45)) == []
    assert after(lanes(0.4), lanes(0.4)) == []
    assert after(watts(1.0), watts(1.0)) == []


def test_room_counts_where_memory_bound_the_plan_and_there_is_a_tenth_more() -> None:
    assert after(memory(50), memory(56), BOUND) == ["memory is available again"]
    assert after(memory(50), memory(54), BOUND) == []
    assert after(memory(50), memory(99)) == []


def test_lanes_that_may_be_used_less_count_where_they_are_used_more() -> None:
    assert after(lanes(0.8), lanes(0.4)) == ["50% of the lanes are used, 40% may be (heat)"]
    assert after(lanes(0.8), lanes(0.6)) == []
    assert after(lanes(0.3), lanes(0.4)) == [], "more than before, though too little"


def test_lanes_that_may_be_used_more_count_where_they_bound_the_plan() -> None:
    assert after(lanes(0.5), lanes(0.6), BOUND) == ["the lanes may be used more again"]
    assert after(lanes(0.5), lanes(0.54), BOUND) == []
    assert after(lanes(0.5), lanes(0.8)) == []


def test_a_power_cap_that_comes_or_falls_counts_and_one_that_goes_where_it_bound_the_plan() -> None:
    assert after(watts(None), watts(2.5)) == ["2.50 W may be drawn (the battery discharges)"]
    assert after(watts(3.0), watts(2.5)) == ["2.50 W may be drawn (the battery discharges)"]
    assert after(watts(2.5), watts(None), BOUND) == ["more power may be drawn again"]
    assert after(watts(2.5), watts(None)) == after(watts(2.5), watts(2.6), BOUND) == []


def test_what_was_put_off_is_due_at_its_time_until_a_decision_is_made() -> None:
    occasions = decided(ROOM)
    assert [*occasions.due(1e12)] == []
    occasions.later(18.0, 20.0, "another try")
    assert [*occasions.due(19.9)] == []
    assert [*occasions.due(20.0)] == [Cause("another try", urgent=False)]
    occasions.decided(ROOM)
    assert [*occasions.due(21.0)] == []


def test_what_was_put_off_is_due_at_once_where_the_clock_was_set_back() -> None:
    occasions = decided(ROOM)
    assert [*occasions.due(-1e9)] == []
    occasions.later(18.0, 20.0, "another try")
    assert [*occasions.due(17.9)] == [Cause("another try", urgent=False)]
