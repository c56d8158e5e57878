"""The linear program with whole options: slower than search and surer, for decisions in which the search got not near.

Each app's routes are those of all its options, so that nothing depends on which routes were looked at. Where drops add
up its bound holds for every plan; an accuracy model is replaced by lines below its curve, so that there it is a bound
still, and its solution one more selection to begin with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schedulerd.optimizer.cost import TOLERANCE
from schedulerd.optimizer.diving import Rounded, rounded_at
from schedulerd.optimizer.highs import WATCH
from schedulerd.optimizer.linear import SCALE, LinearProgram
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.tables import Floats, Table
from schedulerd.optimizer.watch import GRACE_S

_CUT_ROUNDS: Final = 4
_ROOM: Final = 1e-6
_PATIENCE: Final = 3.0
"""Time limits after which it is given up."""
_GAP: Final = 0.001
"""Share of the weights that the objective may be away from its bound."""
_EXCESS_GAP: Final = 1e-6
"""Share of a limit that its excess may be away from its bound."""


@dataclass(frozen=True, slots=True)
class Integral:
    """What whole options come to."""

    rounded: tuple[Rounded, ...]
    """For each app its route."""
    excess: dict[int, float]
    """By rank, how far its limits have to be exceeded at least, given the ranks before it; empty where all are kept."""
    bound: float | None
    """What the sum of values is at least then; None where that is not proven."""


def integral(
    problem: Problem, tables: Sequence[Table], memo: Memo, excess: dict[int, float], time_limit_s: float
) -> Integral | None:
    """The best that is found in time; None where there is nothing.

    Args:
        problem: what to decide, under any objective but `max-fairness`.
        tables: of its apps.
        memo: holds the program of this problem's relaxation, which is used up.
        excess: `Relaxed.least_excess`.
        time_limit_s: for all runs together; HiGHS looks at it between rounds that take long, and goes beyond.

    Raises: `Hung` where HiGHS does not come back, `InternalError` where it does not take the program.
    """
    program, memo.program = memo.program, None

    def work() -> Integral | None:
        return _Integral(program or LinearProgram(problem, tables), time_limit_s).solve(excess)

    return WATCH.call(work, _PATIENCE * time_limit_s + GRACE_S)


class _Integral:
    def __init__(self, program: LinearProgram, time_limit_s: float) -> None:
        program.harden()
        whole = [columns[columns >= 0] for columns in program.takes]
        program.lp.make_whole(np.concatenate([*whole, *program.policies]))
        program.lp.took_s()  # from here on: what the relaxation took, in this decision and before, is not of this limit
        self._program = program
        self._left_s = time_limit_s
        self._values: Floats | None = None

    def solve(self, excess: dict[int, float]) -> Integral | None:
        program = self._program
        found: dict[int, float] = {}
        if excess:
            program.lp.bound(np.array([*program.slack.values()]), np.inf)
            for rank in sorted({rank for rank, _ in program.slack}):
                columns = [column for (of, _), column in program.slack.items() if of == rank]
                least = self._least(SCALE * program.lp.only(columns), SCALE * _EXCESS_GAP)
                if least is None:
                    break
                found[rank] = max(0.0, program.lp.bound_of_whole / SCALE)
                program.hold(columns, max(least / SCALE, TOLERANCE) + _ROOM)
        weights = sum(app.app.priority for app in program.problem.apps)
        value = self._least(program.costs(), SCALE * _GAP * weights)
        if self._values is None:
            return None
        bound = None if value is None else program.lp.bound_of_whole / SCALE
        return Integral(rounded_at(program, self._values), found, bound)

    def _least(self, costs: Floats, gap: float) -> float | None:
        """The least of `costs` that is found, to within `gap`; None where nothing is, or the time is up before."""
        if self._left_s <= 0:
            return None
        self._program.lp.set_gap(gap)
        values = self._program.minimise(costs, self._left_s, _CUT_ROUNDS)
        self._left_s -= self._program.lp.took_s()
        if values is None:
            return None
        self._values = values
        return self._program.lp.least
