"""The answers to `why` and `whatif` as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from schedulerd import present_advice

WHY: dict[str, Any] = {
    "app": "cam1",
    "plan": 8,
    "objective": "max-accuracy",
    "cause": "budget of cam1 50 -> 25 ms",
    "since_s": 135.0,
    "route": ["original", "w50"],
    "policy": {"exit1": 0.8, "final": 0.0},
    "exit_shares": {"exit1": 0.4, "final": 0.6},
    "budget_ms": 25.0,
    "percentile": 99.0,
    "latency_p95_ms": 24.2,
    "miss_ms": 0.0,
    "accuracy": 0.972,
    "relaxed": [
        {
            "limit": "budget:cam1",
            "before": 25.0,
            "after": 27.5,
            "gain": 0.008,
            "relief_ms": 0.0,
            "weighted_gain": 0.0031,
        },
        {
            "limit": "memory",
            "before": 80_000_000,
            "after": 88_000_000,
            "gain": 0.0,
            "relief_ms": 0.0,
            "weighted_gain": -1e-9,
        },
        {"limit": "floor:cam1", "before": 0.9, "after": 0.81, "gain": -0.02, "relief_ms": 0.0, "weighted_gain": 0.004},
    ],
    "better": {
        "route": ["original", "original"],
        "policy": {"final": 0.0},
        "accuracy": 0.98,
        "gain": 0.008,
        "latency_p95_ms": 26.0,
        "miss_ms": 1.0,
        "forbidden_by": [{"limit": "budget:cam1", "share": 0.04, "added": 0.04}],
        "weighted_gain": -0.002,
        "broken": [{"limit": "budget:cam1", "share": 0.04}],
        "cost": [
            {"app": "cam2", "gain": -0.011, "relief_ms": 0.0, "accuracy": 0.93, "miss_ms": 0.0},
            {"app": "cam3", "gain": 0.0, "relief_ms": -2.0, "accuracy": 0.93, "miss_ms": 3.5},
        ],
    },
    "runner_up": {
        "route": ["w50", "w50"],
        "policy": {"final": 0.0},
        "accuracy": 0.95,
        "latency_p95_ms": 20.0,
        "miss_ms": 0.0,
        "weighted_accuracy": 0.96,
        "weighted_gain": -0.012,
        "forbidden_by": [],
        "broken": [],
    },
    "nearest_budget_ms": None,
    "unused_gain": 0.0,
}


def test_why_says_what_runs_since_when_and_what_keeps_it_there() -> None:
    assert present_advice.why(WHY).splitlines() == [
        "cam1 runs original|w50 [exit1>=0.8 40%, final 60%]",
        "since     2 min 15 s, plan 8 (budget of cam1 50 -> 25 ms)",
        "predicted p95 24.2 ms (in time) for a budget of 25.0 ms at p99, accuracy 97.2%",
        "best is   max-accuracy",
        "",
        "LIMIT THAT BINDS       IS  A TENTH LOOSER         BUYS THIS APP  LESS LATE BY ms  BUYS ALL TOGETHER",
        "budget:cam1       25.0 ms         27.5 ms          +0.80 points              0.0  +0.31 points",
        "memory            80.0 MB         88.0 MB              0 points              0.0  0 points",
        "floor:cam1          90.0%           81.0%  gives up 2.00 points              0.0  +0.40 points",
        "",
        "next better  original|original: accuracy 98.0% (+0.80 points), p95 26.0 ms",
        "  would exceed   budget:cam1 by 4.0%",
        "  if forced      late by 1.0 ms, -0.20 points of weighted accuracy in all",
        "  still exceeds  budget:cam1 by 4.0%",
        "  costs          cam2: -1.10 points, in time",
        "  costs          cam3: 0 points, late by 3.5 ms (+2.0 ms)",
        "",
        "runner-up    w50|w50: accuracy 95.0%, p95 20.0 ms (in time)",
        "  in all         -1.20 points of weighted accuracy",
    ]


def test_a_budget_that_is_missed_comes_with_the_nearest_that_can_be_met() -> None:
    text = present_advice.why({**WHY, "miss_ms": 3.0, "nearest_budget_ms": 28.0})
    assert "(late by 3.0 ms)" in text
    assert "the least budget that can be met: 28.0 ms" in text


def test_where_no_budget_can_be_met_it_says_why() -> None:
    text = present_advice.why({**WHY, "miss_ms": 3.0})
    assert "the least budget that can be met: none, the lanes are overloaded" in text


@pytest.mark.parametrize(
    ("share", "added", "said"),
    [
        (0.04, 0.04, "memory by 4.0%"),
        (0.54, 0.04, "memory by 4.0% more"),
        (0.54, 0.0004, "memory by under 0.1% more"),
        (3.0, 3.0, "memory by 300%"),
        (2e6, 2e6, "memory by more than ten times"),
    ],
)
def test_what_would_be_exceeded_tells_what_is_added(share: float, added: float, said: str) -> None:
    forbidden = {"forbidden_by": [{"limit": "memory", "share": share, "added": added}]}
    text = present_advice.why({**WHY, "better": WHY["better"] | forbidden, "runner_up": WHY["runner_up"] | forbidden})
    assert text.splitlines().count(f"  would exceed   {said}") == 2


def test_a_tiny_budget_is_not_shown_as_none() -> None:
    row = {**WHY["relaxed"][0], "before": 0.001, "after": 0.0011}
    text = present_advice.why({**WHY, "budget_ms": 0.001, "relaxed": [row]})
    assert "for a budget of 0.001 ms" in text
    assert text.splitlines()[6].split()[1:5] == ["0.001", "ms", "0.0011", "ms"]


def test_a_gain_that_is_not_taken_yet_is_told() -> None:
    assert "a new plan would gain +0.30 points in all" in present_advice.why({**WHY, "unused_gain": 0.003})


def test_an_app_with_one_route_at_its_best_has_neither_limits_nor_alternatives() -> None:
    lines = present_advice.why({**WHY, "relaxed": [], "better": None, "runner_up": None}).splitlines()
    assert "no limit binds" in lines
    assert lines[-3].startswith("next better  none")
    assert lines[-1].startswith("runner-up    none")


def side(**changes: Any) -> dict[str, Any]:
    return {"route": ["w50"], "budget_ms": 25.0, "latency_p95_ms": 9.0, "miss_ms": 0.0, "accuracy": 0.95, **changes}


WHATIF: dict[str, Any] = {
    "edits": ["budget of cam1 25 -> 5 ms", "digits joins with 50 ms"],
    "sentences": ["cam1 moves to 1 smaller block", "digits starts at 12.0 ms"],
    "apps": [
        {
            "app": "cam1",
            "before": side(),
            "after": side(route=["w25"], budget_ms=5.0, latency_p95_ms=6.0, miss_ms=1.0, accuracy=0.91),
        },
        {"app": "cam2", "before": side(), "after": side()},
        {"app": "digits", "before": None, "after": side(budget_ms=50.0, latency_p95_ms=12.0)},
    ],
    "before": {
        "objective": "max-accuracy",
        "weighted_accuracy": 0.97,
        "memory_bytes": 2_000_000,
        "memory_limit_bytes": 9_000_000,
        "utilisation": 0.41,
        "binding": [],
        "broken": [],
    },
    "after": {
        "objective": "max-accuracy",
        "weighted_accuracy": 0.93,
        "memory_bytes": 3_000_000,
        "memory_limit_bytes": 9_000_000,
        "utilisation": 0.52,
        "binding": ["budget:cam1"],
        "broken": [{"limit": "budget:cam1", "share": 0.2}],
    },
}


def test_what_if_shows_both_plans_side_by_side() -> None:
    assert present_advice.whatif(WHATIF).splitlines() == [
        "what if budget of cam1 25 -> 5 ms; digits joins with 50 ms",
        "",
        "APP               BUDGET ms      p95 ms              BUDGET IS MET        ACCURACY  ROUTE",
        "cam1            25.0 -> 5.0  9.0 -> 6.0  in time -> late by 1.0 ms  95.0% -> 91.0%  w50 -> w25",
        "cam2                   25.0         9.0                    in time           95.0%  w50",
        "digits (joins)         50.0        12.0                    in time           95.0%  w50",
        "",
        "IN ALL                          NOW  THEN",
        "objective              max-accuracy  max-accuracy",
        "weighted accuracy             97.0%  93.0%",
        "memory             2.0 MB of 9.0 MB  3.0 MB of 9.0 MB",
        "lanes used                      41%  52%",
        "binding now   -",
        "binding then  budget:cam1",
        "",
        "cam1 moves to 1 smaller block",
        "digits starts at 12.0 ms",
        "nothing is changed",
    ]


def test_what_damping_holds_back_is_told_before_the_plans() -> None:
    lines = present_advice.whatif({**WHATIF, "held_back": "damping keeps the running plan"}).splitlines()
    assert lines[2:4] == ["damping keeps the running plan", ""]


def test_names_cannot_steer_the_terminal() -> None:
    hostile = "cam\x1b[2J\n1"
    assert "\x1b" not in present_advice.why({**WHY, "app": hostile, "cause": hostile})
    said = {"edits": [hostile], "sentences": [hostile], "held_back": hostile}
    assert "\x1b" not in present_advice.whatif({**WHATIF, **said})
