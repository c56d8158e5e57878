"""The least budget that an app can be given so that it is met. Pure but for the solver it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.optimizer.variations import pinned, position_of, with_budget

_STEPS: Final = 10
"""In a millisecond."""
_ROUNDING: Final = 1e-6
"""Of a step: what is so little above a whole number of steps is that number."""
_STRIDES: Final = (0, 0, 0, *(2**doubled for doubled in range(17)))
"""Steps to try beyond what is needed at least. The first mostly do; the last is 6.6 s."""


def nearest_budget_ms(problem: Problem, app_id: str, solver: Solver, memo: Memo | None = None) -> float | None:
    """The least budget of `app_id`, in steps of 0.1 ms and others as they are, that the plan made for it meets.

    Found from below, as response times are (Joseph and Pandya 1986). An app that misses its budget is as quick as the
    limits of higher rank allow, and under a larger budget no quicker, because then more requests come before its own.
    So what it takes is needed at least, and mostly enough. Where it is not for long, a budget that is met is looked for
    ever further up, and the least one between.

    None where no budget is met: the lanes are overloaded, and requests wait the longer the more have come.

    Args:
        problem: the others are as in this one.
        app_id: whose budget is looked for.
        solver: as for `solve`.
        memo: as for `solve`, of decisions on similar problems; it is left as the last one leaves it.

    Raises:
        KeyError: no such app; the message names those there are.
    """
    search = _Search(problem, position_of(problem, app_id), solver, memo or Memo())
    least = _whole_steps(_least_ms(problem, pinned(problem.apps[search.position])))
    for stride in _STRIDES:
        needed = search.needed(least + stride)
        if needed is None:
            return None
        if needed <= least + stride:
            return search.between(least, needed) / _STEPS
        least = needed
    return None


@dataclass(frozen=True, slots=True)
class _Search:
    """Among the budgets of one app, in steps."""

    problem: Problem
    position: int
    solver: Solver
    memo: Memo

    def needed(self, budget: int) -> int | None:
        """What the app needs at least: `budget` where it is met, else more; None where the lanes are overloaded."""
        app_id, budget_ms = self.problem.apps[self.position].app.app_id, budget / _STEPS
        plan = solve(with_budget(self.problem, app_id, budget_ms), self.solver, 0, self.memo)
        if plan.utilisation > 1:
            return None
        miss_ms = plan.apps[self.position].miss_ms
        return max(budget + 1, _whole_steps(budget_ms + miss_ms)) if miss_ms else budget

    def between(self, least: int, met: int) -> int:
        """The least budget that is met, from `least` to one that is known to be."""
        while least < met:
            middle = (least + met) // 2
            needed = self.needed(middle)
            if needed == middle:
                met = middle
            else:
                least = needed or middle + 1
        return met


def _least_ms(problem: Problem, app: AppOptions) -> float:
    """What no request is answered under, whatever percentile is asked for: the fastest medians without any wait."""
    fastest_ms = [min(option.latency_ms for option in block) for block in app.blocks]
    depths = [policy.depth for policy in app.policies] or [len(fastest_ms)]
    return sum(fastest_ms[: min(depths)]) + problem.limits.overhead_ms


def _whole_steps(time_ms: float) -> int:
    """Rounded up, and at least one."""
    return max(1, math.ceil(time_ms * _STEPS - _ROUNDING))
