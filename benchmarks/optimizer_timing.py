"""How long decisions take and how far they are from the best: random instances, beside the plain formulation with CBC.

A decision is timed from the problem to the verified plan, with the time limit that a daemon has unless told otherwise.
The plain formulation is built and solved right after it, on the same problem, with a time limit of its own. What the
gap is measured against comes from HiGHS with the plain formulation and far more time.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.harness import Figure, Target
from benchmarks.optimizer_gap import Gap, gap_of
from benchmarks.optimizer_instances import SHAPES, instance, overloaded, with_budget
from benchmarks.optimizer_program import PlainProgram, by_block
from schedulerd.config import SolverConfig
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver, make_solver
from schedulerd.plan import Plan

GAP_TARGET: Final = 0.5
REDECIDED: Final = (10, 8, 10)
REDECIDE_TARGET_MS: Final = 20.0
_BUDGET_FACTORS: Final = (0.8, 0.9, 1.1, 1.25)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    seeds: int
    visits: int
    """Decisions for each instance."""
    plain_limit_s: float
    proof_limit_s: float
    large_proof_limit_s: float
    """For more than `LARGE_APPS`, whose optimum HiGHS does not find in minutes: a bound is all that there is."""


LARGE_APPS: Final = 10
FULL: Final = Effort(seeds=20, visits=3, plain_limit_s=5.0, proof_limit_s=10.0, large_proof_limit_s=2.0)
QUICK: Final = Effort(seeds=1, visits=1, plain_limit_s=1.0, proof_limit_s=1.0, large_proof_limit_s=1.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """Instances of one kind, and the 95th percentile that decisions over them are to have."""

    name: str
    """Apps x blocks x variants."""
    make: Callable[[int], Problem]
    """From a seed."""
    target_ms: float | None = None

    def figures(self) -> tuple[str, ...]:
        """Names of all that is measured of it."""
        times = (f"{who}_{self.name}_{what}_ms" for who in ("decide", "plain") for what in ("p50", "p95"))
        return (*times, f"plain_{self.name}_unsolved", f"gap_{self.name}_max", f"worse_limits_{self.name}")


def _kind(shape: tuple[int, int, int], target_ms: float) -> Kind:
    apps, blocks, variants = shape
    return Kind("x".join(map(str, shape)), lambda seed: instance(seed, apps, blocks, variants), target_ms)


KINDS: Final = tuple(map(_kind, SHAPES, (10, 25, 60, 120, 300)))
OVERLOADED: Final = Kind("overloaded_10x8x10", lambda seed: overloaded(instance(seed, 10, 8, 10)))
OVERALL: Final = ("gap_max", "gap_unknown", "gap_claims_wrong")
OF_CHANGES: Final = ("redecide_p50_ms", "redecide_p95_ms")
FIGURES: Final = (*(f for kind in (*KINDS, OVERLOADED) for f in kind.figures()), *OVERALL, *OF_CHANGES)


def default_solver() -> Solver:
    """As a daemon has it that nothing was configured for."""
    return make_solver(SolverConfig().name, SolverConfig().time_limit_s)


def percentiles(name: str, samples_ms: Sequence[float], target_ms: float | None = None) -> dict[str, Figure]:
    """Median and 95th percentile; the target is for the latter."""
    target = None if target_ms is None else Target("<=", target_ms)
    return {
        f"{name}_p50_ms": Figure(statistics.median(samples_ms), "ms"),
        f"{name}_p95_ms": Figure(float(np.percentile(samples_ms, 95)), "ms", target, {"ms": list(samples_ms)}),
    }


def decide(problem: Problem, solver: Solver, memo: Memo | None = None) -> tuple[Plan, float]:
    """A plan and the milliseconds that it took."""
    began_s = time.perf_counter()
    plan = solve(problem, solver, 1, memo)
    took_ms = 1e3 * (time.perf_counter() - began_s)
    if wrong := violations(problem, plan):
        raise AssertionError(f"a plan that does not hold: {'; '.join(wrong)}")
    return plan, took_ms


def measure_kind(kind: Kind, effort: Effort, all_gaps: list[Gap]) -> dict[str, Figure]:
    """The figures of one kind; the gap of each instance goes to `all_gaps` too."""
    ours_ms: list[float] = []
    plain_ms: list[float] = []
    solved: list[bool] = []
    gaps: list[Gap] = []
    for seed in range(effort.seeds):
        problem = kind.make(seed)
        plans = [decide(problem, default_solver()) for _ in range(effort.visits)]
        ours_ms += [took_ms for _, took_ms in plans]
        took_ms, optimal = _plain(problem, effort.plain_limit_s)
        plain_ms.append(took_ms)
        solved.append(optimal)
        proof_limit_s = effort.large_proof_limit_s if len(problem.apps) > LARGE_APPS else effort.proof_limit_s
        gaps.append(gap_of(problem, plans[-1][0], proof_limit_s))
        _tell(f"{kind.name} seed {seed}: {ours_ms[-1]:.1f} ms, plain {took_ms:.0f} ms, {gaps[-1]}")
    all_gaps += gaps
    shares = [100 * gap.share for gap in gaps if gap.share is not None]
    return {
        **percentiles(f"decide_{kind.name}", ours_ms, kind.target_ms),
        **percentiles(f"plain_{kind.name}", plain_ms),
        f"plain_{kind.name}_unsolved": Figure(100 - 100 * statistics.fmean(solved), f"% in {effort.plain_limit_s:g} s"),
        f"gap_{kind.name}_max": _largest(shares, None, {"percent": shares}),
        f"worse_limits_{kind.name}": _worse_limits(gaps),
    }


def overall(gaps: Sequence[Gap]) -> dict[str, Figure]:
    """The largest gap, and what else is known of all instances.

    Where the optimum is not known a gap is that to the best bound, and so an upper bound itself.
    """
    shares = [100 * gap.share for gap in gaps if gap.share is not None]
    exact = [100 * gap.share for gap in gaps if gap.share is not None and gap.exact]
    return {
        "gap_max": _largest(shares, Target("<=", GAP_TARGET), {"to_optimum": exact, "all": shares}),
        "gap_unknown": Figure(sum(g.share is None and not g.worse_limits for g in gaps), "instances"),
        "gap_claims_wrong": Figure(sum(g.claim_wrong for g in gaps), "instances", Target("<=", 0)),
    }


def measure_changes(effort: Effort) -> dict[str, Figure]:
    """Decisions after the budget of one app was changed, with what is kept from the decision before."""
    samples_ms = []
    for seed in range(effort.seeds):
        problem, solver, memo = instance(seed, *REDECIDED), default_solver(), Memo()
        plan, _ = decide(problem, solver, memo)
        for number, factor in enumerate(_BUDGET_FACTORS):
            position = (seed + number) % len(problem.apps)
            problem = with_budget(running(problem, plan), position, factor)
            plan, took_ms = decide(problem, solver, memo)
            samples_ms.append(took_ms)
    return percentiles("redecide", samples_ms, REDECIDE_TARGET_MS)


def running(problem: Problem, plan: Plan) -> Problem:
    """The problem when `plan` is in place."""
    routes = {planned.app_id: planned.route for planned in plan.apps}
    apps = tuple(replace(app, running=routes[app.app.app_id]) for app in problem.apps)
    return replace(problem, apps=apps, resident=plan.digests())


def _plain(problem: Problem, time_limit_s: float) -> tuple[float, bool]:
    """Milliseconds of the plain formulation with CBC, from the problem to the routes, and whether it was solved."""
    began_s = time.perf_counter()
    program = PlainProgram(problem, by_block(problem))
    program.minimise_cost()
    answer = program.solve("cbc", time_limit_s)
    if answer.value is not None:
        program.routes()
    return 1e3 * (time.perf_counter() - began_s), answer.outcome == "optimal"


def _worse_limits(gaps: Sequence[Gap]) -> Figure:
    """Instances in which some limit is exceeded further than necessary."""
    excesses = [gap.excess for gap in gaps if gap.worse_limits]
    return Figure(len(excesses), f"of {len(gaps)} instances", Target("<=", 0), {"excess": excesses})


def _largest(shares: Sequence[float], target: Target | None, samples: dict[str, Sequence[float]]) -> Figure:
    """The largest gap in percent, where any is known."""
    if not shares:
        return Figure(None, "%", target, reason="of no instance it is known which limits have to be exceeded")
    return Figure(max(shares), "%", target, samples)


def _tell(line: str) -> None:
    """Progress: all kinds together take some twenty minutes."""
    print(line, file=sys.stderr, flush=True)
