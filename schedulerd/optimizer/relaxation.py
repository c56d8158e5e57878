"""The linear relaxation: what no plan can undercut, and what everything that is short is worth.

The bound is that of the program over whole routes, since a block's options are all that ties its columns together (the
integrality property: Geoffrion 1974). Reduced costs say what a route costs beyond the best at the prices of everything
that is short.

A relaxation is no decision: it is handed to HiGHS itself, whose rows can grow while it keeps its basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from schedulerd.optimizer.cost import TOLERANCE, memory_scale
from schedulerd.optimizer.curve import least_damages
from schedulerd.optimizer.diving import Rounded, dive
from schedulerd.optimizer.highs import WATCH, highspy
from schedulerd.optimizer.linear import SCALE, LinearProgram
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.tables import Floats, Ints, Table
from schedulerd.optimizer.watch import GRACE_S
from schedulerd.optimizer.worth import worths

_CUT_ROUNDS: Final = 5
_PATIENCE: Final = 2.0
"""Time limits after which the solver is given up."""
_ROOM: Final = 1e-7
"""Room above what is held, for the last digits of its sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """What one app's choices cost beyond the best, at the prices of all that is short; in units of value."""

    costs: Floats
    """[policies, blocks, places], at least 0; 0 where there is nothing to take."""
    policy_costs: Floats
    """[policies]"""
    pressure: Floats
    """[policies, blocks, places]: of it, what is paid for what is short."""
    policy_pressure: Floats
    """[policies]"""

    def pressures(self, policy: Ints, picks: Ints) -> Floats:
        """[routes]: what whole routes pay for what is short; `policy` and `picks` as in `Routes`."""
        return _summed(self.pressure, self.policy_pressure, policy, picks)

    def beyond(self, policy: Ints, picks: Ints) -> Floats:
        """[routes]: what a plan with such a route costs above the bound at least; arguments as of `pressures`."""
        return _summed(self.costs, self.policy_costs, policy, picks)


def _summed(of_options: Floats, of_policies: Floats, policy: Ints, picks: Ints) -> Floats:
    """[routes]: over their blocks and policies; what is not run counts 0."""
    blocks = np.arange(of_options.shape[1])
    return np.asarray(of_options[policy[:, None], blocks, picks].sum(axis=1) + of_policies[policy])


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """What the relaxation comes to."""

    least_excess: dict[int, float]
    """By rank, by how much its limits are exceeded at least, given the ranks before it; 0 is left out."""
    worst_share: float
    """Under `max-fairness`, the least that the app with the largest loss loses; else 0."""
    value: float
    """The least sum of values."""
    apps: tuple[Priced, ...]
    solution: Floats
    """[columns] of the program."""
    is_whole: bool = False
    """Whether `value` is of whole options, not of the prices."""

    def with_whole(self, excess: dict[int, float], value: float | None) -> Relaxed:
        """The same with what is proven of whole options; `excess` and `value` as `Integral` has them.

        Where limits are exceeded the relaxation's own value is that of a smaller excess: no bound beside a larger one.
        """
        if value is None:
            return self
        if not excess:
            return replace(self, value=max(self.value, value), is_whole=True)
        return replace(self, least_excess=excess, value=value, is_whole=True)


def relax(problem: Problem, tables: Sequence[Table], memo: Memo, time_limit_s: float) -> Relaxed | None:
    """The relaxation of a problem; None where HiGHS is not there or has no answer in time.

    Args: problem; tables: of its apps; memo: of the decisions before; time_limit_s: for all runs of the solver.

    Raises: `Hung` where HiGHS does not come back, `InternalError` where it does not take the program.
    """
    if highspy is None:
        return None
    program, memo.program = memo.program, None

    def work() -> tuple[LinearProgram, Relaxed | None]:
        relaxation = _Relaxation(problem, tables, program, time_limit_s)
        return relaxation.program, relaxation.solve()

    # Watched as a whole: a thread for each run of the solver would take longer than most runs.
    memo.program, relaxed = WATCH.call(work, _PATIENCE * time_limit_s + GRACE_S)
    return relaxed


def rounded(relaxed: Relaxed, memo: Memo, time_limit_s: float) -> tuple[Rounded, ...]:
    """For each app a route near what the relaxation takes in parts; raises as `relax`.

    Args: relaxed: as it was last made with `memo`; memo; time_limit_s: as of `relax`.
    """
    program, memo.program = memo.program, None
    found = WATCH.call(lambda: dive(program, relaxed.solution), _PATIENCE * time_limit_s + GRACE_S)
    memo.program = program
    return found


class _Relaxation:
    def __init__(
        self, problem: Problem, tables: Sequence[Table], before: LinearProgram | None, time_limit_s: float
    ) -> None:
        self._left_s = time_limit_s
        if before is not None and before.is_alike(problem, tables):
            before.follow(problem, tables)
            self.program = before
        else:
            self.program = LinearProgram(problem, tables)
        self.program.lp.took_s()
        self._values = np.zeros(0)

    def solve(self) -> Relaxed | None:
        """With limits kept where that is possible, else rank by rank exceeded as little as it is."""
        program, costs = self.program, self.program.costs()
        excess: dict[int, float] = {}
        worst = 0.0
        found = self._least(costs if program.worst is None else program.lp.only([program.worst]))
        if found is None:
            if not program.lp.is_infeasible:
                return None
            opened = self._opened()
            if opened is None:
                return None
            excess = opened
        if program.worst is not None:
            least = self._least(program.lp.only([program.worst]))
            if least is None:
                return None
            worst = least
            program.hold([program.worst], worst + _ROOM)
        if found is None or program.worst is not None:
            found = self._least(costs)
        if found is None:
            return None
        return Relaxed(excess, worst, found / SCALE, self._priced(costs), self._values)

    def _least(self, costs: Floats) -> float | None:
        """The least of `costs`; None where there is no solution, or no time."""
        if self._left_s <= 0:
            return None
        values = self.program.minimise(costs, self._left_s, _CUT_ROUNDS)
        self._left_s -= self.program.lp.took_s()
        if values is None:
            return None
        self._values = values
        return self.program.lp.least

    def _opened(self) -> dict[int, float] | None:
        """Every limit may be exceeded; rank by rank that is held down to the least."""
        program = self.program
        program.lp.bound(np.array([*program.slack.values()]), np.inf)
        excess: dict[int, float] = {}
        for rank in sorted({rank for rank, _ in program.slack}):
            columns = [column for (of, _), column in program.slack.items() if of == rank]
            least = self._least(program.lp.only(columns))
            if least is None:
                return None
            if least > TOLERANCE:
                excess[rank] = least
                program.hold(columns, least + _ROOM)
            else:
                program.lp.bound(np.array(columns), _ROOM)
        return excess

    def _priced(self, costs: Floats) -> tuple[Priced, ...]:
        program = self.program
        reduced, duals = (values / SCALE for values in program.lp.duals())
        paid_for_all = reduced - costs / SCALE
        found = []
        for position, table in enumerate(program.tables):
            takes, policies = program.takes[position], program.policies[position]
            paid = np.where(takes >= 0, paid_for_all[takes], 0.0)
            if position in program.damage_row:
                # What damages cost is no pressure: whole routes know their own loss.
                paid = paid + np.where(takes >= 0, duals[program.damage_row[position]] * least_damages(table), 0.0)
            found.append(
                Priced(
                    costs=np.where(takes >= 0, np.maximum(reduced[takes], 0.0), 0.0),
                    policy_costs=np.maximum(reduced[policies], 0.0),
                    pressure=paid,
                    policy_pressure=paid_for_all[policies],
                )
            )
        return tuple(found)


def guessed(problem: Problem, table: Table) -> Priced:
    """Prices where there is no relaxation: a share of each limit is worth a share of the app."""
    limits, app, policies = problem.limits, table.app, len(table.numbers)
    shape = (policies, table.blocks, table.index.shape[1])
    scale = float(app.app.priority)
    times_ms = table.median_ms + table.heads_ms[:, :, None]
    busy = app.app.rate_hz * times_ms * table.reach[:, :, None] / (1000.0 * limits.lanes * limits.utilisation_cap)
    late = (table.tail_ms + table.heads_tail_ms[:, :, None]) / app.app.budget_ms
    pressure = scale * (busy + late + table.own_bytes / memory_scale(limits))
    worth = worths(replace(problem, apps=(app,)))[0]
    lost = worth.loss * app.full_accuracy * table.damage / max(float(table.damage.max()), 1e-9)
    value = worth.loss * table.damage if app.accuracy is None else lost
    nothing = np.zeros(policies)
    return Priced(
        costs=np.broadcast_to(value + pressure, shape),
        policy_costs=worth.loss * table.policy_drop,
        pressure=np.broadcast_to(pressure, shape),
        policy_pressure=nothing,
    )
