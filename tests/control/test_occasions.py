"""When to plan anew although nobody asked: memory that has changed, and what was put off."""

from __future__ import annotations

from dataclasses import replace

from schedulerd.control.occasions import Cause, Occasions
from schedulerd.plan import EMPTY_PLAN

MB = 10**6
PLAN = replace(EMPTY_PLAN, number=1, memory_bytes=50 * MB)
BOUND = replace(PLAN, binding=("memory",))


def decided(memory_limit_bytes: int) -> Occasions:
    """After a decision under a limit."""
    made = Occasions()
    made.decided(memory_limit_bytes)
    return made


def test_a_limit_that_falls_below_what_runs_is_pressure() -> None:
    assert [*decided(60 * MB).memory(PLAN, 45 * MB)] == ["memory pressure: 5.0 MB over what is available"]
    assert [*decided(60 * MB).memory(PLAN, 55 * MB)] == []


def test_a_limit_that_was_planned_with_is_no_news_though_nothing_fits_it() -> None:
    assert [*decided(45 * MB).memory(PLAN, 45 * MB)] == []


def test_room_counts_where_memory_bound_the_plan_and_there_is_a_tenth_more() -> None:
    assert [*decided(50 * MB).memory(BOUND, 56 * MB)] == ["memory is available again"]
    assert [*decided(50 * MB).memory(BOUND, 54 * MB)] == []
    assert [*decided(50 * MB).memory(PLAN, 99 * MB)] == []


def test_what_was_put_off_is_due_at_its_time_until_a_decision_is_made() -> None:
    occasions = decided(MB)
    assert [*occasions.due(1e12)] == []
    occasions.later(20.0, "another try")
    assert [*occasions.due(19.9)] == []
    assert [*occasions.due(20.0)] == [Cause("another try", urgent=False)]
    occasions.decided(MB)
    assert [*occasions.due(21.0)] == []
