"""How good a selection is, and a better one by the integer program where that can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from schedulerd.optimizer.accuracy import most_accurate_picks
from schedulerd.optimizer.board import Board, Selection
from schedulerd.optimizer.candidates import Candidates
from schedulerd.optimizer.choice import Choice, choose
from schedulerd.optimizer.cost import TOLERANCE
from schedulerd.optimizer.diving import Rounded
from schedulerd.optimizer.objectives import MAX_ACCURACY, MAX_FAIRNESS
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.program import VALUE_SCALE, Program
from schedulerd.optimizer.relaxation import Relaxed
from schedulerd.optimizer.search import better, shaken
from schedulerd.optimizer.solvers import Answer, Solver
from schedulerd.optimizer.tables import Floats

WANTED_GAP: Final = 0.01
"""Proven gap with which a plan is good enough where the optimum is not at hand.

The relaxation itself was 0.1 to 0.9% below the optimum on random boards of one and of four apps with tight budgets (20
seeds, when this was written), so less could not be proven there. Plans are much nearer (docs/optimizer.md).
"""
_NEAR_GAP: Final = 0.002
"""Proven gap with which no other search is begun."""
_STIRRED_GAP: Final = 0.004
"""Proven gap above which some more time is spent on the search."""
_FEW_ROUTES: Final = 900
"""Of all apps together: so few are decided on exactly."""
_SAME: Final = 1e-6
"""Gaps below are the solvers' rounding."""
_HELD: Final = 1e-5
"""How much further than at least a limit may be exceeded for a bound to hold: the rounding of several stages."""
_FEASIBLE: Final = ("optimal", "time_limit")
"""Outcomes that come with a solution."""


@dataclass(frozen=True, slots=True)
class Found:
    """A choice with where it came from; fields as in `Plan`."""

    choice: Choice
    status: str = "optimal"
    gap: float | None = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One of the things that the program minimises, in order."""

    place: int
    """Of the figure that it is about, in `Selection.figures`."""
    least: float | None
    """What that figure is at least, where it is known."""
    minimise: Callable[[], None]
    hold: Callable[[float], None] | None
    """Keeps the figure from then on where it got; None for the last one."""


class Settlement:
    """One decision after the search."""

    def __init__(
        self,
        board: Board,
        candidates: Sequence[Candidates],
        pressures: Sequence[Floats],
        relaxed: Relaxed | None,
        solver: Solver,
    ) -> None:
        """Args: board; candidates: its routes; pressures: of these, as of `search`; relaxed: the bound; solver."""
        self._board = board
        self._pressures = pressures
        self._relaxed = relaxed
        self._solver = solver
        self._left_s = solver.time_limit_s
        self._rest = min(c.rest for c in candidates)
        """What a plan with a route that is not on the board costs above the bound, at least."""

    @property
    def is_exact(self) -> bool:
        """Whether the optimum is at hand: all routes are known, and few."""
        return self._rest == np.inf and sum(map(len, self._board.routes)) <= _FEW_ROUTES

    def is_near(self, selection: Selection) -> bool:
        """Whether it is proven that hardly anything is better."""
        gap = self._gap(selection, self._searched_bound(selection))
        return gap is not None and gap <= _NEAR_GAP

    def is_good(self, selection: Selection) -> bool:
        """Whether what is proven is good enough."""
        gap = self._gap(selection, self._searched_bound(selection))
        return gap is not None and gap <= WANTED_GAP

    def stirred(self, selection: Selection) -> Selection:
        """The selection, or a better one where some more search finds one and it may be worth it."""
        gap = self._gap(selection, self._searched_bound(selection))
        if self.is_exact or (gap is not None and gap <= _STIRRED_GAP):
            return selection
        return shaken(selection, self._pressures)

    def settle(self, selection: Selection) -> Found:
        """The selection with what is proven of it, or what the integer program over routes makes of it."""
        gap = self._gap(selection, self._searched_bound(selection))
        if self.is_exact and (gap is None or gap > _SAME):
            return self._programmed(selection)
        return Found(choice_of(selection), "unproven", None) if gap is None else _proven(selection, gap)

    def _searched_bound(self, selection: Selection) -> float | None:
        """The relaxation's; for an app alone, of whose routes the search tries all, that of those off the board."""
        if self._relaxed is None:
            return None
        if len(self._board.routes) > 1 or (self._relaxed.is_whole and self._rest < np.inf):
            return self._relaxed.value
        return max(self._relaxed.value, min(float(selection.figures()[-1]), self._relaxed.value + self._rest))

    def _gap(self, selection: Selection, bound: float | None) -> float | None:
        """By how much a plan could be better at most, as a share of what this one is; None where nothing is proven.

        `bound` is of the sum of values where nothing is exceeded further than it has to be, and the app that loses most
        loses no more than it has to.
        """
        if bound is None or self._relaxed is None:
            return None
        figures = selection.figures()
        least = [*(self._relaxed.least_excess.get(rank, 0.0) for rank in self._board.ranks), self._relaxed.worst_share]
        if (figures[:-1] > np.array(least) + _HELD).any():
            return None
        return _relative(self._board.problem, float(figures[-1]), bound)

    # The integer program.

    def _programmed(self, selection: Selection) -> Found:
        """Rank by rank exceeded as little as the ranks before allow and held there; the objective comes last."""
        program = Program(self._board, elastic=bool(selection.figures()[:-2].any()))
        best, bound = selection, None
        for stage in self._stages(program):
            if stage.least is None or best.figures()[stage.place] > stage.least + TOLERANCE:
                stage.minimise()
                answer = self._ask(program, best)
                if answer.outcome in _FEASIBLE:
                    best = _better(best, Selection(self._board, program.solution()))
                if answer.outcome != "optimal":
                    return self._cut_short(best, selection, answer)
                bound = None if answer.bound is None else answer.bound / VALUE_SCALE
            if stage.hold is not None:
                stage.hold(float(best.figures()[stage.place]))
        gaps = [self._gap(best, self._searched_bound(best))]
        if bound is not None:
            gaps.append(_relative(self._board.problem, float(best.figures()[-1]), bound))
        known = [gap for gap in gaps if gap is not None]
        return _proven(best, min(known)) if known else Found(choice_of(best), "unproven", None)

    def _stages(self, program: Program) -> Iterator[_Stage]:
        ranks = self._board.ranks
        least = self._relaxed.least_excess if self._relaxed else {}
        for place, rank in enumerate(ranks):
            if rank in program.slacks:
                minimise, hold = partial(program.minimise_excess, rank), partial(program.hold_excess, rank)
                yield _Stage(place, least.get(rank, 0.0), minimise, hold)
        if self._board.problem.objective == MAX_FAIRNESS:
            yield _Stage(len(ranks), None, program.minimise_worst, program.hold_worst)
        yield _Stage(len(ranks) + 1, None, program.minimise_value, None)

    def _ask(self, program: Program, best: Selection) -> Answer:
        """The solver's answer; what it raises, and having no time left, is a failure like any other."""
        if self._left_s <= 0:
            return Answer("failed", reason="no time left")
        program.begin_with(best.rows)
        try:
            answer = self._solver.run(program.lp, self._left_s, feasible=True)
        except Exception as error:  # a solver is a plug-in: no fault of one may stop the control loop
            return Answer("failed", reason=f"{type(error).__name__}: {error}")
        self._left_s -= answer.seconds
        return answer

    def _cut_short(self, best: Selection, before: Selection, answer: Answer) -> Found:
        """What is at hand where the solver did not get to the end, with what kept it from that."""
        timed_out = answer.outcome == "time_limit"
        note = "" if timed_out else answer.reason or "the solver contradicts itself"
        gap = self._gap(best, self._searched_bound(best))
        if gap is not None and gap <= WANTED_GAP:
            return _proven(best, gap, note)
        status = "greedy" if best is before and not timed_out else "time_limit"
        return Found(choice_of(best), status, gap, note)


def _better(one: Selection, other: Selection) -> Selection:
    return other if better(other.figures(), one.figures()) else one


def _proven(selection: Selection, gap: float, note: str = "") -> Found:
    """A plan of which that is proven."""
    optimal = gap <= _SAME
    return Found(choice_of(selection), "optimal" if optimal else "bounded", 0.0 if optimal else gap, note)


def _relative(problem: Problem, value: float, bound: float) -> float:
    """A gap as a share: of the accuracy that is kept, of the time or of the energy."""
    weights = sum(app.app.priority for app in problem.apps)
    whole = weights - value if problem.objective in (MAX_ACCURACY, MAX_FAIRNESS) else value
    return max(0.0, value - bound) / max(whole, 1e-9)


def choice_of(selection: Selection) -> Choice:
    """The selection in the terms of the problem."""
    board, picks, policies = selection.board, [], []
    for table, routes, row in zip(board.tables, board.routes, selection.rows, strict=True):
        number, depth = int(table.numbers[routes.policy[row]]), int(table.depth[routes.policy[row]])
        chosen = [int(table.index[block, place]) for block, place in enumerate(routes.picks[row][:depth])]
        picks.append(chosen + most_accurate_picks(table.app)[depth:])
        policies.append(number)
    return choose(board.problem, picks, policies)


def places_of(selection: Selection) -> list[Rounded]:
    """For each app the places of its policy and options."""
    pairs = zip(selection.board.routes, selection.rows, strict=True)
    return [(int(routes.policy[row]), routes.picks[row].tolist()) for routes, row in pairs]
