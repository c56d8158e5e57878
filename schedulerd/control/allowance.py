"""A solver for answers that take many decisions: it ends the whole of them when their time is up."""

from __future__ import annotations

from collections.abc import Callable

import pulp

from schedulerd.optimizer.solvers import Answer, Solver


class Abandoned(BaseException):
    """Nobody waits any more for what is being solved.

    Not an `Exception`, as asyncio's `CancelledError` is none: what goes wrong in a solver is taken for a plan without
    it, and work that is to end would go on.
    """


class Allowance:
    """A solver until `over` says so; then whatever uses it ends with `Abandoned`."""

    def __init__(self, solver: Solver, over: Callable[[], bool]) -> None:
        """Args: solver: does the work; over: asked before every decision and every program."""
        self._solver = solver
        self._over = over

    @property
    def time_limit_s(self) -> float:
        """As `Solver.time_limit_s`."""
        self._check()
        return self._solver.time_limit_s

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        """As `Solver.run`."""
        self._check()
        return self._solver.run(program, time_limit_s, feasible=feasible)

    def _check(self) -> None:
        if self._over():
            raise Abandoned
