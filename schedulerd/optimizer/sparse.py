"""A linear program in HiGHS that grows: columns first, then rows as they turn out to be needed.

Rows are gathered and handed over in one go: row by row that takes longer than solving.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from schedulerd.errors import InternalError
from schedulerd.optimizer.highs import highspy
from schedulerd.optimizer.tables import Floats, Ints

_INF: Final = float("inf")


class GrowingProgram:
    """Minimise costs * columns, where each column is from 0 to its bound and rows of factors * columns are bounded."""

    def __init__(self) -> None:
        self._upper: list[float] = []
        self._added_columns = 0
        self._row_count = 0
        self._fixed_rows = 0
        self._took_s = 0.0
        self._is_whole = False
        self._forget_rows()
        self._highs: Any = highspy.Highs()
        # Presolve takes longer than it saves on programs that are gone on with.
        for option, value in (("output_flag", False), ("threads", 1), ("presolve", "off")):
            self._highs.setOptionValue(option, value)

    def _forget_rows(self) -> None:
        self._lowers: list[float] = []
        self._uppers: list[float] = []
        self._starts: list[int] = []
        self._columns: list[int] = []
        self._factors: list[float] = []

    # Growing.

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self._upper)

    def column(self, upper: float = _INF) -> int:
        """The number of a new column."""
        self._upper.append(upper)
        return len(self._upper) - 1

    def columns(self, count: int) -> Ints:
        """The numbers of so many new ones."""
        self._upper.extend([_INF] * count)
        return np.arange(len(self._upper) - count, len(self._upper))

    def row(self, columns: Iterable[int], factors: Iterable[float], lower: float, upper: float) -> int:
        """The number of a new row: lower <= sum of factors * columns <= upper."""
        self._starts.append(len(self._columns))
        self._columns.extend(columns)
        self._factors.extend(factors)
        self._lowers.append(lower)
        self._uppers.append(upper)
        self._row_count += 1
        return self._row_count - 1

    def flush(self) -> None:
        """Hand over what is new. Raises `InternalError` where HiGHS does not take it."""
        new = np.array(self._upper[self._added_columns :])
        empty, zeros = np.zeros(0, np.int32), np.zeros(len(new))
        if len(new):
            self._took(self._highs.addCols(len(new), zeros, zeros, new, 0, empty, empty, np.zeros(0)))
            self._added_columns = len(self._upper)
        if self._lowers:
            starts, columns = np.array(self._starts, np.int32), np.array(self._columns, np.int32)
            bounds = np.array(self._lowers), np.array(self._uppers)
            added = self._highs.addRows(len(starts), *bounds, len(columns), starts, columns, np.array(self._factors))
            self._took(added)
            self._forget_rows()

    @staticmethod
    def _took(status: Any) -> None:
        if status == highspy.HighsStatus.kError:
            raise InternalError("HiGHS does not take a part of the linear relaxation")

    def fix_rows(self) -> None:
        """The rows so far stay."""
        self.flush()
        self._fixed_rows = self._row_count

    def drop_rows(self) -> None:
        """Take away the rows since `fix_rows`."""
        doomed = np.arange(self._fixed_rows, self._row_count, dtype=np.int32)
        self._highs.deleteRows(len(doomed), doomed)
        self._row_count = self._fixed_rows

    def loosen(self, rows: Sequence[int]) -> None:
        """These rows bind nothing any more."""
        for row in rows:
            self._highs.changeRowBounds(row, -_INF, _INF)

    def bound(self, columns: Ints, upper: float) -> None:
        """How much of each of these columns may be taken from now on."""
        count = len(columns)
        uppers = np.full(count, upper)
        self._took(self._highs.changeColsBounds(count, columns.astype(np.int32), np.zeros(count), uppers))

    # Solving.

    def set_costs(self, costs: Floats) -> None:
        """[columns]: what is minimised."""
        self._highs.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)

    def set_limits(self, *, seconds: float | None = None, iterations: int | None = None) -> None:
        """How long each run may take from now on; without an argument, as long as it wants."""
        more_s = highspy.kHighsInf if seconds is None else self._highs.getRunTime() + seconds
        self._highs.setOptionValue("time_limit", more_s)
        most = highspy.kHighsIInf if iterations is None else iterations
        self._highs.setOptionValue("simplex_iteration_limit", most)

    def run(self) -> Floats | None:
        """[columns]: the solution, from where the last run ended; None where there is none within the limits."""
        before_s = self._highs.getRunTime()
        self._highs.run()
        if self._highs.getModelStatus() == highspy.HighsModelStatus.kUnknown:
            # Seen once in some thousand programs, where the basis had become singular: again from the beginning.
            self._highs.clearSolver()
            self._highs.setOptionValue("presolve", "on")
            self._highs.run()
            self._highs.setOptionValue("presolve", "choose" if self._is_whole else "off")
        self._took_s += self._highs.getRunTime() - before_s
        feasible = self._highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        if not self.is_proven and not (self._is_whole and feasible):
            return None
        return np.array(self._highs.getSolution().col_value)

    @property
    def is_proven(self) -> bool:
        """Whether nothing is less than what the last run found."""
        return bool(self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)

    def took_s(self) -> float:
        """Seconds of all runs since this was asked before."""
        took_s, self._took_s = self._took_s, 0.0
        return took_s

    def make_whole(self, columns: Ints) -> None:
        """From now on these columns are taken wholly or not at all."""
        count = len(columns)
        kind = np.full(count, int(highspy.HighsVarType.kInteger), np.uint8)
        self._highs.changeColsIntegrality(count, columns.astype(np.int32), kind)
        self._highs.changeColsBounds(count, columns.astype(np.int32), np.zeros(count), np.ones(count))
        # Restarts take longer than all the rest where time is short.
        for option, value in (("mip_rel_gap", 0.0), ("mip_allow_restart", False), ("presolve", "choose")):
            self._highs.setOptionValue(option, value)
        self._is_whole = True

    def set_gap(self, gap: float) -> None:
        """Runs with whole columns end within `gap` of their bound from now on."""
        self._highs.setOptionValue("mip_abs_gap", gap)

    @property
    def bound_of_whole(self) -> float:
        """What no solution with whole columns undercuts, after the last run."""
        return float(self._highs.getInfo().mip_dual_bound)

    @property
    def is_infeasible(self) -> bool:
        """Whether the last run has proven that there is no solution."""
        return bool(self._highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible)

    @property
    def least(self) -> float:
        """The minimum that the last run found."""
        return float(self._highs.getInfo().objective_function_value)

    def duals(self) -> tuple[Floats, Floats]:
        """Reduced costs [columns], and what a unit more of each bound is worth [rows]."""
        solution = self._highs.getSolution()
        return np.array(solution.col_dual), np.array(solution.row_dual)

    def only(self, columns: Sequence[int]) -> Floats:
        """[columns]: costs that count nothing but these, each once."""
        costs = np.zeros(self.width)
        costs[[*columns]] = 1.0
        return costs
