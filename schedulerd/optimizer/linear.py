"""The linear program behind the relaxation: a column per option and policy, and rows for everything that is short.

Options may be taken in parts. Of the windows in which requests wait only those become rows that some solution so far
has exceeded (cutting planes: Kelley 1960); HiGHS goes on from where it was. A program is kept from one decision to the
next: where only budgets, values or sizes of limits differ, rows and columns stay, and so does the basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from schedulerd.optimizer.contention import Contention, contention_of
from schedulerd.optimizer.cost import TOLERANCE, budget_rank
from schedulerd.optimizer.curve import least_damages, tangents
from schedulerd.optimizer.linear_limits import SharedLimits
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.sparse import GrowingProgram
from schedulerd.optimizer.tables import Bools, Floats, Ints, Table
from schedulerd.optimizer.worth import Worth, is_fair, worths

SCALE: Final = 1e3
"""Values are minimised in thousandths, above the solver's tolerances."""
_INF: Final = float("inf")
_EXCESS_PRICE: Final = 20.0
"""What a whole limit's excess counts in units of value where it is the first to be given up."""
_DEARER: Final = 1.5
"""By how much more an excess of the rank before counts."""
_LAST_RANK: Final = 13


class LinearProgram:
    """Columns and rows in HiGHS. Limits are hard as long as the columns of `slack` are bound to 0."""

    def __init__(self, problem: Problem, tables: Sequence[Table]) -> None:
        self.problem = problem
        self.tables = tables
        self.lp = GrowingProgram()
        self.takes: list[Ints] = []
        """[policies, blocks, places] of each app: columns; -1 where there is nothing to take."""
        self.policies: list[Ints] = []
        """[policies] of each app: columns."""
        self.slack: dict[tuple[int, int], int] = {}
        """By rank, and app where it is about one: the column by which that limit is exceeded."""
        self.worst: int | None = None
        """The column of the largest share of its accuracy that an app loses, under `max-fairness`."""
        self.damage_row: dict[int, int] = {}
        """Of apps with an accuracy model: the row that joins their damages."""
        self._worths = worths(problem)
        self._median: list[int] = []
        self._tail: list[int] = []
        self._longest: list[int] = []
        self._loss: dict[int, int] = {}
        self._has_longest: set[int] = set()
        self._cuts: set[tuple[int, int]] = set()
        self._contention = _contention(problem)
        self._held: list[int] = []
        self._build()
        # What comes later depends on budgets.
        self.lp.fix_rows()
        self._add_first_cuts()

    # Building.

    def _slack_of(self, rank: int, position: int = -1) -> int:
        """The column by which one limit is exceeded: bound to 0 at first."""
        if (rank, position) not in self.slack:
            self.slack[rank, position] = self.lp.column(upper=0.0)
        return self.slack[rank, position]

    def _build(self) -> None:
        if is_fair(self.problem):
            self.worst = self.lp.column()
        for position, table in enumerate(self.tables):
            self._add_app(position, table)
        shared = SharedLimits(self.lp, self.problem, self.tables, self.takes, self.policies, self._slack_of)
        shared.add_sums()
        shared.add_memory()
        for position, app in enumerate(self.problem.apps):
            self._slack_of(budget_rank(app), position)

    def _add_app(self, position: int, table: Table) -> None:
        """One policy, and of each block that it reaches one option."""
        run = _run(table)
        takes = np.full(run.shape, -1, np.intp)
        takes[run] = self.lp.columns(int(run.sum()))
        policies = self.lp.columns(len(table.numbers))
        self.takes.append(takes)
        self.policies.append(policies)
        self.lp.row(policies.tolist(), [1.0] * len(policies), 1.0, 1.0)
        for place, depth in enumerate(table.depth):
            for block in range(depth):
                columns = takes[place, block, : table.counts[block]].tolist()
                self.lp.row([*columns, int(policies[place])], [*[1.0] * len(columns), -1.0], 0.0, 0.0)
        columns = takes[run]
        times_ms = table.median_ms + table.heads_ms[:, :, None]
        tails_ms = table.tail_ms + table.heads_tail_ms[:, :, None]
        self._median.append(self._sum_column(columns, times_ms[run]))
        self._tail.append(self._sum_column(columns, tails_ms[run]))
        self._longest.append(self.lp.column())
        self._add_loss(position, table, columns, np.broadcast_to(table.damage, run.shape)[run])

    def _sum_column(self, columns: Ints, factors: Floats) -> int:
        """A column that is the sum of others, each times its factor."""
        total = self.lp.column()
        self.lp.row([*columns.tolist(), total], [*factors.tolist(), -1.0], 0.0, 0.0)
        return total

    def _add_loss(self, position: int, table: Table, columns: Ints, damages: Floats) -> None:
        """The loss of one app: what its floor and fairness are about."""
        app = self.problem.apps[position]
        taken, factors = columns.tolist(), damages.tolist()
        if app.accuracy is not None:
            joined = self.lp.column()
            factors = np.broadcast_to(least_damages(table), self.takes[position].shape)[_run(table)].tolist()
            self.damage_row[position] = self.lp.row([*taken, joined], [*factors, -1.0], 0.0, 0.0)
            loss = self._loss[position] = self.lp.column()
            for slope, at_zero in tangents(table):
                self.lp.row([loss, joined], [1.0, -slope], at_zero, _INF)
            taken, factors = [loss], [1.0]
        taken, factors = [*taken, *self.policies[position].tolist()], [*factors, *table.policy_drop.tolist()]
        self.lp.row(taken, factors, -_INF, table.allowed_loss() + TOLERANCE)
        if self.worst is not None:
            full = app.full_accuracy or 1.0
            self.lp.row([*taken, self.worst], [*(factor / full for factor in factors), -1.0], -_INF, 0.0)

    # Windows.

    def _add_first_cuts(self) -> None:
        self._add_cuts_at(*self._extreme(np.max))
        self._add_cuts_at(*self._extreme(np.min))
        self.lp.flush()

    def _extreme(self, of: Any) -> tuple[Floats, Floats, Floats, Floats]:
        """Medians, longest blocks and 95th percentiles of all-slowest or all-quickest options, and no excess."""
        medians = np.array([of(t.median_ms, axis=1).sum() for t in self.tables])
        longest = np.array([of(t.median_ms, axis=1).max() for t in self.tables])
        tails = np.array([of(t.tail_ms, axis=1).sum() for t in self.tables])
        return medians, longest, tails, np.zeros(len(self.tables))

    def _add_cuts_at(self, median_ms: Floats, longest_ms: Floats, tail_ms: Floats, slack: Floats) -> bool:
        """For every app whose budget is exceeded there, the row of the window that does it most."""
        windows = self._contention
        budgets_ms = np.array([app.app.budget_ms for app in self.problem.apps])
        waits_ms = windows.waits_in_ms(median_ms, longest_ms)
        over = waits_ms + (tail_ms + self.problem.limits.overhead_ms - budgets_ms * (1.0 + slack))[windows.app]
        added = False
        for position, first in enumerate(windows.start):
            last = windows.start[position + 1] if position + 1 < len(windows.start) else len(over)
            window = int(first + np.argmax(over[first:last]))
            if over[window] > TOLERANCE * budgets_ms[position]:
                blockers = np.flatnonzero(windows.blockers[window])
                blocker = int(blockers[np.argmax(longest_ms[blockers])]) if len(blockers) else -1
                added |= self._add_cut(position, window, blocker)
        return added

    def _add_cut(self, position: int, window: int, blocker: int) -> bool:
        """The time of one app in one window, with the longest block of one other in its way."""
        if (window, blocker) in self._cuts:
            return False
        self._cuts.add((window, blocker))
        app, windows = self.problem.apps[position], self._contention
        budget_ms = app.app.budget_ms
        ahead = np.flatnonzero(windows.ahead[window])
        columns = [self._tail[position], *(self._median[other] for other in ahead)]
        factors = [1.0, *windows.ahead[window, ahead]]
        if blocker >= 0:
            self._add_longest(blocker)
            columns.append(self._longest[blocker])
            factors.append(1.0)
        columns.append(self._slack_of(budget_rank(app), position))
        factors.append(-budget_ms)
        room_ms = budget_ms - self.problem.limits.overhead_ms + windows.elapsed_ms[window]
        self.lp.row(columns, [factor / budget_ms for factor in factors], -_INF, room_ms / budget_ms)
        return True

    def _add_longest(self, position: int) -> None:
        """The longest block of one app is at least each block."""
        if position in self._has_longest:
            return
        self._has_longest.add(position)
        table, takes = self.tables[position], self.takes[position]
        for block in range(table.blocks):
            places = takes[:, block] >= 0
            times_ms = np.broadcast_to(table.median_ms[block] + table.heads_ms[:, block, None], places.shape)[places]
            columns = [*takes[:, block][places].tolist(), self._longest[position]]
            self.lp.row(columns, [*times_ms.tolist(), -1.0], -_INF, 0.0)

    # Solving.

    def follow(self, problem: Problem, tables: Sequence[Table]) -> None:
        """Go over to a problem that `is_alike`; limits are hard again."""
        self.problem, self.tables, self._worths = problem, tables, worths(problem)
        self._contention = _contention(problem)
        self.lp.drop_rows()
        self._cuts, self._has_longest, self._held = set(), set(), []
        self.lp.bound(np.array([*self.slack.values()]), 0.0)
        self._add_first_cuts()

    def is_alike(self, problem: Problem, tables: Sequence[Table]) -> bool:
        """Whether a problem differs from the present one in budgets, percentiles' waits and values alone."""
        if problem.limits != self.problem.limits or is_fair(problem) != is_fair(self.problem):
            return False
        if len(tables) != len(self.tables):
            return False
        return all(
            one.structure is other.structure and _fixed(one) == _fixed(other)
            for one, other in zip(tables, self.tables, strict=True)
        )

    def costs(self) -> Floats:
        """[columns]: what everything is worth, in thousandths."""
        costs = np.zeros(self.lp.width)
        for position, (table, worth) in enumerate(zip(self.tables, self._worths, strict=True)):
            run = _run(table)
            costs[self.takes[position][run]] = _values(table, worth)[run]
            costs[self.policies[position]] = worth.loss * table.policy_drop + table.policy_swap
            if position in self._loss:
                costs[self._loss[position]] = worth.loss
        return SCALE * costs

    def hold(self, columns: Sequence[int], most: float) -> None:
        """From now on these columns add up to no more than that."""
        self._held.append(self.lp.row(columns, [1.0] * len(columns), -_INF, most))
        self.lp.flush()

    def soften(self) -> Floats:
        """Every limit may be exceeded from now on, at a price; [columns]: the costs with that price.

        So what is rounded always has a solution, and one that exceeds little. Prices rise with the rank of a limit.
        """
        self.lp.loosen(self._held)
        self.lp.bound(np.array([*self.slack.values()]), _INF)
        costs = self.costs()
        for (rank, _), column in self.slack.items():
            costs[column] = SCALE * _EXCESS_PRICE * _DEARER ** max(0, _LAST_RANK - rank)
        return costs

    def harden(self) -> None:
        """Limits are hard again after `soften`; windows that became rows stay."""
        self.lp.loosen(self._held)
        self._held = []
        self.lp.bound(np.array([*self.slack.values()]), 0.0)

    def minimise(self, costs: Floats, time_limit_s: float, rounds: int) -> Floats | None:
        """[columns]: the solution with the least costs; as `solution`."""
        self.lp.set_limits(seconds=time_limit_s)
        self.lp.set_costs(costs)
        return self.solution(rounds)

    def solution(self, rounds: int) -> Floats | None:
        """[columns]: values after at most so many rounds of windows that the solution before lacked.

        None where there is no solution, or no time.
        """
        values = self.lp.run()
        for _ in range(rounds):
            if values is None or not self._add_cuts_at(*self._taken(values)):
                break
            self.lp.flush()
            values = self.lp.run()
        return values

    def _taken(self, values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """[apps] each: medians, longest blocks and percentiles of what is taken, and shares of budgets to be missed."""
        slack = [values[self.slack[budget_rank(app), p]] for p, app in enumerate(self.problem.apps)]
        return values[self._median], self._longest_at(values), values[self._tail], np.array(slack)

    def _longest_at(self, values: Floats) -> Floats:
        """[apps]: the longest block, in parts as its options are taken."""
        longest = []
        for table, takes in zip(self.tables, self.takes, strict=True):
            taken = np.where(takes >= 0, values[takes], 0.0)
            longest.append((taken * (table.median_ms + table.heads_ms[:, :, None])).sum(axis=(0, 2)).max())
        return np.array(longest)


def _contention(problem: Problem) -> Contention:
    return contention_of([app.app for app in problem.apps], problem.limits.lanes)


def _fixed(table: Table) -> tuple[float, int, float, float]:
    """What of an app its rows depend on, beside its table."""
    app = table.app
    return app.app.rate_hz, app.app.priority, app.app.accuracy_floor, app.full_accuracy


def _run(table: Table) -> Bools:
    """[policies, blocks, places]: what a policy reaches and is no padding."""
    real = np.arange(table.index.shape[1]) < table.counts[:, None]
    reached = np.arange(table.blocks) < table.depth[:, None]
    return np.asarray(real & reached[:, :, None])


def _values(table: Table, worth: Worth) -> Floats:
    """[policies, blocks, places]: what taking an option is worth, without the loss where a model joins the damages."""
    times_ms = table.median_ms + table.heads_ms[:, :, None]
    energies_mj = table.energy_mj + table.heads_mj[:, :, None]
    values = table.reach[:, :, None] * (worth.expected * times_ms + worth.energy * energies_mj) + table.swap
    return np.asarray(values + (worth.loss * table.damage if table.app.accuracy is None else 0.0))
