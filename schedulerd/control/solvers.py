"""Who solves an integer program: HiGHS in this process, or CBC as a process of its own.

Both are used through PuLP, and both call an incumbent "Optimal" when the time is up. PuLP 3.3 tells the two apart only
in `LpProblem.sol_status`: `LpSolutionOptimal` is proven, `LpSolutionIntegerFeasible` is what was at hand.

PuLP with HiGHS is imported at the top: it costs 20 ms and 7 MB here, and every daemon plans.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import highspy
import numpy as np
import pulp

from schedulerd.errors import ConfigError

Outcome = Literal["optimal", "time_limit", "infeasible", "failed"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended. With `optimal` and `time_limit` the program's variables hold the solution."""

    outcome: Outcome
    bound: float | None = None
    """What the objective (minimised) is proven to be at least; None where the solver does not say."""
    seconds: float = 0.0
    reason: str = ""
    """Why it failed."""


class Solver(Protocol):
    """Solves a PuLP program by assigning its variables."""

    @property
    def time_limit_s(self) -> float:
        """Time for one decision, however many programs that takes."""
        ...

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        """Minimise `program` within `time_limit_s`. What goes wrong is an `Answer`, not an exception.

        With `feasible` the program is known to have a solution, and "infeasible" would be a mistake of the solver.
        """
        ...


class Highs:
    """HiGHS through highspy, in this process; it lets go of the interpreter lock while it solves."""

    name = "highs"

    def __init__(self, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        """As `Solver.run`; mistaken infeasibility is asked about again.

        The presolve of HiGHS 1.15 calls a feasible program infeasible now and then (HiGHS issues 2204 and 3296); of
        ours it was one in some thousands.
        """
        answer = self._run(program, time_limit_s, presolve="choose")
        if answer.outcome != "infeasible" or not feasible:
            return answer
        again = self._run(program, max(time_limit_s - answer.seconds, 0.0), presolve="off")
        return replace(again, seconds=answer.seconds + again.seconds)

    def _run(self, program: pulp.LpProblem, time_limit_s: float, presolve: str) -> Answer:
        """One thread: the other cores are the lanes'. Gaps of 0, so that equal problems have one answer."""
        solver = _HighsByArrays(
            msg=False,
            threads=1,
            timeLimit=time_limit_s,
            gapRel=0.0,
            gapAbs=1e-9,
            presolve=presolve,
            # On programs of this size the heuristic takes 40% of the time and finds nothing that the root does not.
            mip_heuristic_run_feasibility_jump=False,
        )
        outcome, reason = _solve(program, solver)
        solved = outcome in ("optimal", "time_limit")
        bound = float(program.solverModel.getInfo().mip_dual_bound) if solved else None
        return Answer(outcome, bound, program.solutionTime, reason)


class _HighsByArrays(pulp.HiGHS):  # type: ignore[misc]  # PuLP has no types
    """PuLP's HiGHS, with the program handed over in arrays.

    PuLP hands it over column by column with the interpreter lock held: 1.2 ms for 3 apps of 4 blocks and 4 variants,
    15 ms for 10 of 8 and 10; this takes 0.1 and 0.8 ms. PuLP then reads the `index` of every variable and row.
    """

    def buildSolverModel(self, lp: pulp.LpProblem) -> None:  # noqa: N802 - PuLP's name
        variables, rows = lp.variables(), lp.constraints()
        for index, item in (*enumerate(variables), *enumerate(rows)):
            item.index = index
        nothing = np.zeros(0, np.int32)
        lp.solverModel.addCols(
            len(variables),
            np.array([lp.objective.get(v, 0.0) for v in variables]),
            np.array([_or_infinite(v.lowBound, -1) for v in variables]),
            np.array([_or_infinite(v.upBound, 1) for v in variables]),
            0,
            nothing,
            nothing,
            np.zeros(0),
        )
        integers = np.array([v.index for v in variables if v.cat == pulp.LpInteger], np.int32)
        kind = np.full(len(integers), int(highspy.HighsVarType.kInteger), np.uint8)
        lp.solverModel.changeColsIntegrality(len(integers), integers, kind)
        lengths = [len(row) for row in rows]
        lp.solverModel.addRows(
            len(rows),
            np.array([_or_infinite(row.getLb(), -1) for row in rows]),
            np.array([_or_infinite(row.getUb(), 1) for row in rows]),
            sum(lengths),
            np.cumsum([0, *lengths[:-1]], dtype=np.int32),
            np.array([v.index for row in rows for v in row], np.int32),
            np.array([coefficient for row in rows for coefficient in row.values()], np.float64),
        )


def _or_infinite(bound: float | None, sign: int) -> float:
    return sign * highspy.kHighsInf if bound is None else float(bound)


class Cbc:
    """CBC as a process; PuLP hands programs over in temporary files and reports no bound."""

    name = "cbc"

    def __init__(self, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:  # noqa: ARG002 - CBC needs no hint
        """As `Solver.run`; the process takes some 10 ms more, whatever the program."""
        with warnings.catch_warnings():
            # PuLP 4 will want the separate package of CBC; until then the bundled one is meant.
            warnings.simplefilter("ignore", DeprecationWarning)
            solver = pulp.PULP_CBC_CMD(msg=False, timeLimit=time_limit_s, gapRel=0.0, gapAbs=1e-9)
            outcome, reason = _solve(program, solver)
        bound = float(pulp.value(program.objective)) if outcome == "optimal" else None
        return Answer(outcome, bound, program.solutionTime, reason)


def make_solver(name: str, time_limit_s: float) -> Solver:
    """The solver called `highs` or `cbc`; `ConfigError` for any other name."""
    solvers: dict[str, type[Highs] | type[Cbc]] = {Highs.name: Highs, Cbc.name: Cbc}
    if name not in solvers:
        raise ConfigError(f"[solver] name is {name!r}; it is one of {', '.join(sorted(solvers))}")
    return solvers[name](time_limit_s)


def _solve(program: pulp.LpProblem, solver: Any) -> tuple[Outcome, str]:
    """Run, and read PuLP's two statuses as one outcome."""
    try:
        program.solve(solver)
    except Exception as error:  # PuLP raises KeyError, IndexError and its own for states it does not know
        return "failed", f"{type(error).__name__}: {error}"
    if program.sol_status == pulp.LpSolutionOptimal:
        return "optimal", ""
    if program.sol_status == pulp.LpSolutionIntegerFeasible:
        return "time_limit", ""
    if program.status == pulp.LpStatusInfeasible:
        return "infeasible", ""
    return "failed", f"no solution: {pulp.LpStatus[program.status]}, {pulp.LpSolution[program.sol_status]}"
