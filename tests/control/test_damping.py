"""Keep or change, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.control.damping import DampingSettings, keep_or_change
from schedulerd.plan import AppPlan, Excess, Plan, Route, relief

SETTINGS = DampingSettings(min_dwell_s=2.0, min_gain=0.01, min_relief=0.02)


def plan(variant: str, weighted_accuracy: float, *broken: Excess, app_id: str = "cam") -> Plan:
    """One app on one block."""
    app = AppPlan(
        app_id=app_id,
        route=Route("m", (variant,), (f"blob-{variant}",)),
        latency_ms=1.0,
        latency_p95_ms=1.0,
        accuracy=0.9,
        memory_bytes=1,
        utilisation=0.1,
        block_ms=(1.0,),
    )
    return Plan(1, (app,), 1, 1, 0.1, weighted_accuracy=weighted_accuracy, broken=broken)


def memory(share: float) -> Excess:
    """Memory exceeded by a share."""
    return Excess("memory", share, 1)


def budget(app_id: str, share: float, rank: int = 8) -> Excess:
    """A budget exceeded by a share."""
    return Excess(f"budget:{app_id}", share, rank)


@pytest.mark.parametrize(
    ("running", "candidate", "urgent", "since_s", "change", "reason"),
    [
        # Asked for: at once, even when it gains nothing.
        (plan("a", 0.9), plan("b", 0.8), True, 0.0, True, "asked"),
        (plan("a", 0.9), plan("a", 0.9, app_id="door"), False, 0.0, True, "apps"),
        # Nothing to do.
        (plan("a", 0.9), plan("a", 0.9), False, 99.0, False, "same"),
        # The running plan breaks a limit that the candidate keeps: at once, at any cost in accuracy.
        (plan("a", 0.9, memory(0.1)), plan("b", 0.5), False, 0.0, True, "memory"),
        (plan("a", 0.9, budget("cam", 0.3)), plan("b", 0.5, budget("cam", 0.1)), False, 0.0, True, "budget:cam"),
        # A little less of the same excess is no reason, or an overloaded board would never rest.
        (plan("a", 0.9, budget("cam", 0.30)), plan("b", 0.9, budget("cam", 0.29)), False, 99.0, False, "gain"),
        # A miss of low priority in place of one of high priority is a relief; the reverse is none.
        (plan("a", 0.9, budget("cam", 0.2, 5)), plan("b", 0.9, budget("door", 0.4, 9)), False, 0.0, True, "budget:cam"),
        (plan("a", 0.9, budget("door", 0.4, 9)), plan("b", 0.99, budget("cam", 0.2, 5)), False, 99.0, False, "further"),
        # Better, but too soon, or too little.
        (plan("a", 0.9), plan("b", 0.95), False, 1.9, False, "1.9 s old"),
        (plan("a", 0.9), plan("b", 0.905), False, 99.0, False, "gain of 0.0050"),
        (plan("a", 0.9), plan("b", 0.95), False, 2.0, True, "gain of 0.0500"),
    ],
)
def test_keep_or_change(
    running: Plan, candidate: Plan, urgent: bool, since_s: float, change: bool, reason: str
) -> None:
    decision = keep_or_change(running, candidate, urgent=urgent, since_change_s=since_s, settings=SETTINGS)
    assert decision.change is change
    assert reason in decision.reason


def test_relief_is_decided_by_the_first_rank_that_differs() -> None:
    before = (memory(0.1), budget("cam", 0.5))
    assert relief(before, (memory(0.1), budget("cam", 0.2))) == pytest.approx(0.3)
    assert relief(before, (memory(0.3),)) == pytest.approx(-0.2)
    assert relief(before, (memory(0.11), budget("cam", 0.1)), 0.02) == pytest.approx(0.4)
    assert relief(before, before) == 0.0


def test_two_misses_of_one_priority_are_added_up() -> None:
    one = (budget("cam", 0.3),)
    two = (budget("cam", 0.1), budget("door", 0.3))
    assert relief(one, two) == pytest.approx(-0.1)


def test_settings_can_switch_damping_off() -> None:
    eager = replace(SETTINGS, min_dwell_s=0.0, min_gain=0.0)
    assert keep_or_change(plan("a", 0.9), plan("b", 0.9), urgent=False, since_change_s=0.0, settings=eager).change
