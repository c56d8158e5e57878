"""A solver that gives a decision no more time than is left for it."""

from __future__ import annotations

from typing import Final

import pulp

from schedulerd.clock import Clock
from schedulerd.optimizer.solvers import Answer, Solver

LEAST_S: Final = 0.01
"""A solver that gets less finds nothing at all; then the best greedy plan stands."""


class Hurried:
    """Another solver, until a moment."""

    def __init__(self, solver: Solver, until_s: float, clock: Clock) -> None:
        """Args: solver: does the work; until_s: monotonic seconds; clock."""
        self._solver = solver
        self._until_s = until_s
        self._clock = clock

    @property
    def time_limit_s(self) -> float:
        """What is left, and at most what the solver has for itself."""
        return min(self._solver.time_limit_s, max(LEAST_S, self._until_s - self._clock.now_s()))

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        """As `Solver.run`."""
        return self._solver.run(program, min(time_limit_s, self.time_limit_s), feasible=feasible)
