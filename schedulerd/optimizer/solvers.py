"""Who solves an integer program: HiGHS in this process, or CBC as a process of its own; neither is waited for for ever.

Both are used through PuLP, and both call an incumbent "Optimal" when the time is up. PuLP 3.3 tells the two apart only
in `LpProblem.sol_status`: `LpSolutionOptimal` is proven, `LpSolutionIntegerFeasible` is what was at hand.

PuLP with HiGHS is imported at the top: it costs 20 ms and 7 MB here, and every daemon plans. A machine without HiGHS
plans with CBC; without that as well, solvers fail and decisions rest on the search alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, Protocol

import numpy as np
import pulp

from schedulerd.errors import ConfigError
from schedulerd.optimizer.cbc import CbcFault, CbcProcess
from schedulerd.optimizer.highs import WATCH, highspy
from schedulerd.optimizer.watch import GRACE_S, Hung, Watch

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
    """HiGHS through highspy, in this process; it lets go of the interpreter lock while it solves.

    On a machine without highspy every run fails.
    """

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
        answer = _solve(program, solver)
        if answer.outcome not in ("optimal", "time_limit"):
            return answer
        return replace(answer, bound=float(program.solverModel.getInfo().mip_dual_bound))


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
            np.array([-np.inf if v.lowBound is None else v.lowBound for v in variables], np.float64),
            np.array([np.inf if v.upBound is None else v.upBound for v in variables], np.float64),
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
            np.array([-np.inf if (lower := row.getLb()) is None else lower for row in rows], np.float64),
            np.array([np.inf if (upper := row.getUb()) is None else upper for row in rows], np.float64),
            sum(lengths),
            np.cumsum([0, *lengths[:-1]], dtype=np.int32),
            np.array([v.index for row in rows for v in row], np.int32),
            np.array([coefficient for row in rows for coefficient in row.values()], np.float64),
        )


class Watched:
    """A solver in this process, given up where it does not come back."""

    def __init__(self, solver: Solver, watch: Watch) -> None:
        """Args: solver: does the work, and should keep its time limit; watch: waits for it."""
        self._solver = solver
        self._watch = watch

    @property
    def time_limit_s(self) -> float:
        """As `Solver.time_limit_s`."""
        return self._solver.time_limit_s

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        """As `Solver.run`. A solver that was given up may still write to `program`: it is of no more use."""
        work = partial(self._solver.run, program, time_limit_s, feasible=feasible)
        try:
            return self._watch.call(work, time_limit_s + GRACE_S)
        except Hung as hung:
            return Answer("failed", reason=str(hung))


class Cbc:
    """CBC as a process; programs are handed over in temporary files, and no bound is reported."""

    name = "cbc"

    def __init__(self, time_limit_s: float, path: str = "", grace_s: float = GRACE_S) -> None:
        """Args: time_limit_s; path: the program, empty for the one that is found; grace_s: then it is killed."""
        self.time_limit_s = time_limit_s
        self._path = path
        self._grace_s = grace_s

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:  # noqa: ARG002 - CBC needs no hint
        """As `Solver.run`; the process takes some 10 ms more, whatever the program."""
        answer = _solve(program, CbcProcess(self._path, time_limit_s, self._grace_s))
        if answer.outcome != "optimal":
            return answer
        return replace(answer, bound=float(pulp.value(program.objective)))


_NAMES: Final = (Cbc.name, Highs.name)


def make_solver(name: str, time_limit_s: float, warn: Callable[[str], None] | None = None) -> Solver:
    """The solver called `highs` or `cbc`; CBC for a machine without HiGHS.

    Args: name; time_limit_s: for one decision; warn: is told when it is not the solver that was named.

    Raises:
        ConfigError: any other name.
    """
    if name not in _NAMES:
        raise ConfigError(f"[solver] name is {name!r}; it is one of {', '.join(_NAMES)}")
    if name == Highs.name and highspy is not None:
        return Watched(Highs(time_limit_s), WATCH)
    if name == Highs.name and warn is not None:
        warn("highspy cannot be imported, so CBC solves instead and gaps are less often known; install highspy")
    return Cbc(time_limit_s)


def _solve(program: pulp.LpProblem, solver: Any) -> Answer:
    """Run, and read PuLP's two statuses as one outcome; without a bound."""
    try:
        program.solve(solver)
    except CbcFault as fault:
        return Answer("failed", reason=str(fault))
    except Exception as error:  # PuLP raises KeyError, IndexError and its own for states it does not know
        return Answer("failed", reason=f"{type(error).__name__}: {error}")
    seconds = program.solutionTime
    if program.sol_status == pulp.LpSolutionOptimal:
        return Answer("optimal", seconds=seconds)
    if program.sol_status == pulp.LpSolutionIntegerFeasible:
        return Answer("time_limit", seconds=seconds)
    if program.status == pulp.LpStatusInfeasible:
        return Answer("infeasible", seconds=seconds)
    reason = f"no solution: {pulp.LpStatus[program.status]}, {pulp.LpSolution[program.sol_status]}"
    return Answer("failed", seconds=seconds, reason=reason)
