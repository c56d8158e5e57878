"""A problem that makes no sense is refused, with the value, its place and what helps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from blockstore.accuracy_model import LINEAR, LOGISTIC, WEIBULL, AccuracyModel
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import MAX_APPS, AppOptions, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.optimizer.validate import BadProblem, check
from tests.optimizer.problems import ROOMY, app_options, graded, policy_option

CAM = app_options("cam", graded("cam"))
PROBLEM = Problem((CAM,), ROOMY)
KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 1.0, tuple((0.0, 0.01, 0.02) for _ in CAM.blocks), (), None, ())


def only(app: AppOptions) -> Problem:
    """`PROBLEM` with another app."""
    return replace(PROBLEM, apps=(app,))


def wishing(**wishes: Any) -> Problem:
    """`PROBLEM` where the app asks for something else."""
    return only(replace(CAM, app=replace(CAM.app, **wishes)))


def costing(**costs: Any) -> Problem:
    """`PROBLEM` where the first variant costs something else."""
    first, *others = CAM.blocks[0]
    return only(replace(CAM, blocks=((replace(first, **costs), *others), *CAM.blocks[1:])))


def limited(**limits: Any) -> Problem:
    """`PROBLEM` under other limits."""
    return replace(PROBLEM, limits=replace(ROOMY, **limits))


def known(**fields: Any) -> Problem:
    """`PROBLEM` with an accuracy model."""
    return only(replace(CAM, accuracy=replace(KNOWN, **fields)))


def leaving(**fields: Any) -> Problem:
    """`PROBLEM` with one exit policy."""
    return only(replace(CAM, policies=(replace(policy_option(3, {0: 0.6}, cap=1, head_ms=0.5), **fields),)))


NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sound_problems_pass(objective: str) -> None:
    problem = replace(PROBLEM, objective=objective, swap_cost=0.01, limits=replace(ROOMY, power_cap_w=5.0))
    check(problem)
    check(wishing(percentile=50.0, priority=1))
    check(wishing(percentile=99.9, priority=10))
    check(costing(energy_mj=0.0))
    check(only(replace(CAM, pins=("", "cam1v0", ""), accuracy=KNOWN)))
    check(leaving(heads_mj=(0.1, 0.2, 0.0)))
    check(replace(PROBLEM, apps=()))


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (replace(PROBLEM, objective="fastest"), "objective is 'fastest'; it must be one of max-accuracy, min-latency"),
        (replace(PROBLEM, swap_cost=-0.1), "swap cost is -0.1"),
        (replace(PROBLEM, swap_cost=NAN), "swap cost is nan"),
        (limited(power_cap_w=0.0), r"power cap is 0.0; it must be 0.0001 to 1e\+06"),
        (limited(utilisation_cap=0.0), "utilisation cap is 0.0; it must be 0.0001 to"),
        (limited(lanes=0), "number of lanes is 0; it must be 1 to 1024"),
        (limited(lanes=10**6), "number of lanes is 1000000; it must be 1 to 1024"),
        (limited(memory_bytes=10**300), "memory limit is 10*; it must be 0 to"),
        (limited(overhead_ms=NAN), "serving overhead is nan"),
        (limited(power_cap_w=NAN), "power cap is nan"),
        (limited(memory_bytes=-1), "memory limit is -1"),
        (wishing(percentile=49.9), "percentile of cam is 49.9; it must be 50 to 99.9"),
        (wishing(percentile=100.0), "percentile of cam is 100.0"),
        (wishing(percentile=NAN), "percentile of cam is nan"),
        (wishing(priority=0), "priority of cam is 0; it must be 1 to 10"),
        (wishing(priority=11), "priority of cam is 11"),
        (wishing(accuracy_floor=NAN), "accuracy floor of cam is nan"),
        (wishing(accuracy_floor=1.5), "accuracy floor of cam is 1.5; it must be 0 to 1"),
        (wishing(budget_ms=INFINITY), "budget of cam is inf"),
        (wishing(budget_ms=1e300), r"budget of cam is 1e\+300; it must be 0.0001 to 3.6e\+06"),
        (wishing(budget_ms=1e-300), "budget of cam is 1e-300"),
        (wishing(rate_hz=1e300), r"rate of cam is 1e\+300; it must be 0.0001 to 10000"),
        (wishing(rate_hz=0.0), "rate of cam is 0.0"),
        (costing(variant=""), "the name of '' of block 0 of cam is empty"),
        (costing(latency_ms=1e300), r"block 0 of cam is 1e\+300; it must be 0 to 3.6e\+06: profile the store again"),
        (costing(latency_p95_ms=1e9), "95th percentile of 'cam0v0' of block 0 of cam is 1000000000.0"),
        (costing(energy_mj=1e300), r"energy of 'cam0v0' of block 0 of cam is 1e\+300; it must be 0 to 1e\+06"),
        (costing(memory_bytes=2**60), "memory of 'cam0v0' of block 0 of cam is 1152921504606846976"),
        (
            costing(accuracy_drop=1.5),
            "accuracy drop of 'cam0v0' of block 0 of cam is 1.5; it must be -1 to 1: evaluate",
        ),
        (costing(accuracy_drop=NAN), "accuracy drop of 'cam0v0' of block 0 of cam is nan"),
        (only(replace(CAM, full_accuracy=95.0)), "full accuracy of cam is 95.0; it must be 0 to 1"),
        (costing(latency_ms=NAN), "latency of 'cam0v0' of block 0 of cam is nan"),
        (costing(latency_p95_ms=-1.0), "95th percentile of 'cam0v0' of block 0 of cam is -1.0"),
        (costing(memory_bytes=-1), "memory of 'cam0v0' of block 0 of cam is -1"),
        (costing(arena_bytes=-1), "arena of 'cam0v0' of block 0 of cam is -1"),
        (costing(accuracy_drop=-INFINITY), "accuracy drop of 'cam0v0' of block 0 of cam is -inf"),
        (costing(energy_mj=NAN), "energy of 'cam0v0' of block 0 of cam is nan"),
        (costing(energy_mj=-2.0), "energy of 'cam0v0' of block 0 of cam is -2.0"),
        (costing(digest="blob-cam1v0", memory_bytes=5), "elsewhere the same blob blob-cam1v0 takes 5"),
        (only(replace(CAM, pins=("cam0v0",))), "cam has 1 pins for 3 blocks"),
        (known(damages=((0.0, 0.1, 0.2),)), r"cam has \[3\] damages for \[3, 3, 3\] variants"),
        (known(damages=((0.0, 0.1), (0.0, 0.1, 0.2), (0.0, 0.1, 0.2))), r"\[2, 3, 3\] damages for \[3, 3, 3\]"),
        (known(damages=((0.0, -0.1, 0.2), *KNOWN.damages[1:])), "damage in block 0 of cam is -0.1"),
        (known(damages=((0.0, 0.1, 0.2), (0.0, NAN, 0.2), (0.0, 0.1, 0.2))), "damage in block 1 of cam is nan"),
        (known(damages=((0.0, 1e300, 0.2), *KNOWN.damages[1:])), r"damage in block 0 of cam is 1e\+300"),
        (known(shape=700.0), "shape of the accuracy model of cam is 700.0; it must be 0 to 40"),
        (known(original=NAN), "original of the accuracy model of cam is nan"),
        (known(shape=-1.0), "shape of the accuracy model of cam is -1.0"),
        (leaving(heads_mj=(0.1,)), r"has head energies \(0.1,\): one for each of 3 blocks, 0 past the depth"),
        (leaving(heads_mj=(0.1, 0.1, 0.1)), "has head energies"),
        (leaving(heads_ms=(1e300, 0.5, 0.0)), "latency of a head of policy '.*' of cam is 1e"),
        (leaving(accuracy_drop=-1e300), "accuracy drop of policy '.*' of cam is -1e"),
        (leaving(heads_mj=(0.1, NAN, 0.0)), "energy of a head of policy '.*' of cam is nan"),
    ],
)
def test_what_makes_no_sense_is_named(problem: Problem, said: str) -> None:
    with pytest.raises(BadProblem, match=said):
        check(problem)


class Unread(tuple[AppOptions, ...]):
    """Apps that nobody may look at: what is refused for their number is refused before it costs anything."""

    def __iter__(self) -> Any:
        raise AssertionError("looked at")


def test_too_many_apps_are_refused_before_any_is_looked_at() -> None:
    check(replace(PROBLEM, apps=tuple(app_options(f"a{n}", graded(f"a{n}")) for n in range(MAX_APPS))))
    with pytest.raises(BadProblem, match="10000 apps; at most 128 can be planned together"):
        check(replace(PROBLEM, apps=Unread([CAM] * 10_000)))


@pytest.mark.parametrize("kind", [LINEAR, WEIBULL, LOGISTIC])
def test_the_most_that_passes_can_be_worked_out(kind: str) -> None:
    """Every value as far out as it may be: no overflow on the way to a plan, and one that says what it exceeds."""
    most = replace(KNOWN, kind=kind, shape=40.0, damages=tuple((0.0, 1e3, 1e3) for _ in CAM.blocks))
    blocks = tuple(
        tuple(replace(o, latency_ms=3e6, latency_p95_ms=3.6e6, memory_bytes=2**40, energy_mj=1e6) for o in block)
        for block in CAM.blocks
    )
    app = replace(CAM.app, budget_ms=1e-4, rate_hz=1e4, priority=10)
    extreme = limited(memory_bytes=0, utilisation_cap=1e-4, power_cap_w=1e-4)
    for accuracy in (None, most):
        for objective in OBJECTIVES:
            apps = (replace(CAM, app=app, blocks=blocks, accuracy=accuracy),)
            plan = solve(replace(extreme, apps=apps, objective=objective), Highs(10.0), 1)
            assert {e.limit for e in plan.broken} == {"memory", "utilisation", "power", "budget:cam"}
            assert all(math.isfinite(e.share) for e in plan.broken)
