"""The decision: the best routes for all apps under the limits of the moment. Pure but for the solver it is given.

Limits are hard where all of them can be kept. Where not, they are given up in order: first budgets, those of the
lowest priority before others, then power, the cap on utilisation and memory; accuracy floors stand. Every rank is
exceeded as little as the ranks before it allow, and the objective is looked at last.

Three steps, each of which may be the last. The linear relaxation gives a bound and prices (`relaxation`). A search over
the routes that are cheapest at those prices gives a plan, mostly within some thousandths of the bound (`search`). An
integer program closes the gap: that over routes where all are known and few (`program`), that over options where the
gap is wide (`integral`). Apps are decided on in order of their names, so that no other order changes a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from schedulerd.errors import InternalError
from schedulerd.optimizer.board import Selection, board_of
from schedulerd.optimizer.candidates import Candidates, candidates_of
from schedulerd.optimizer.choice import Choice, choose, most_accurate
from schedulerd.optimizer.diving import Rounded
from schedulerd.optimizer.integral import Integral, integral
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.objectives import MAX_ACCURACY, MAX_FAIRNESS
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.relaxation import guessed, relax, rounded
from schedulerd.optimizer.search import search
from schedulerd.optimizer.settle import Found, Settlement, places_of
from schedulerd.optimizer.solvers import Solver
from schedulerd.optimizer.validate import check
from schedulerd.optimizer.variations import pinned
from schedulerd.optimizer.watch import Hung
from schedulerd.plan import Plan

Result = TypeVar("Result")


def solve(problem: Problem, solver: Solver, number: int, memo: Memo | None = None) -> Plan:
    """The best plan, or one that is proven to be near it, or the best that was found in time; its status says which.

    Never "infeasible": a plan that cannot keep a limit says so in `broken`, and in `miss_ms` of the app it is about.

    Args:
        problem: what to decide.
        solver: who solves integer programs. It is not asked where the plan is known to be best without.
        number: the plan's number.
        memo: of the decisions before; what still holds of them need not be worked out again.

    Raises:
        BadProblem: a cost that is no cost, a block without variants.
        InternalError: every plan turned out to be wrong; what runs is best left alone.
    """
    memo = memo or Memo()
    check(problem)
    apps = sorted(problem.apps, key=lambda app: app.app.app_id)
    decided = replace(problem, apps=tuple(map(pinned, apps)))
    found = _decided(decided, solver, memo)
    return _in_order(problem, _checked(found, problem, number, memo))


def _in_order(problem: Problem, plan: Plan) -> Plan:
    """The plan with its apps in the problem's order, and with what could not be done for the operator."""
    apps = {app.app_id: app for app in plan.apps}
    unmet = [pin for app in problem.apps for pin in _unmet_pins(app)]
    note = "; ".join([note for note in (plan.note, *unmet) if note])
    return replace(plan, apps=tuple(apps[app.app.app_id] for app in problem.apps), note=note)


def _unmet_pins(app: AppOptions) -> list[str]:
    """What to say of pins that no option matches."""
    pinned_blocks = zip(app.pins, app.blocks, strict=False)
    unmet = [(pin, b) for b, (pin, block) in enumerate(pinned_blocks) if pin and all(o.variant != pin for o in block)]
    said = [f"no {pin!r} for block {b} of {app.app.app_id}: its pin is ignored" for pin, b in unmet]
    if app.pinned_exits and app.pinned_exits not in [policy.policy.steps for policy in app.policies]:
        said.append(f"the pinned exit policy of {app.app.app_id} is not offered: its pin is ignored")
    return said


def _decided(problem: Problem, solver: Solver, memo: Memo) -> Found:
    if not problem.apps:
        return Found(choose(problem, []))
    ideal = most_accurate(problem)
    if (
        problem.objective in (MAX_ACCURACY, MAX_FAIRNESS)
        and not ideal.broken()
        and not any(cost.swap_loss for cost in ideal.costs)
    ):
        return Found(ideal)
    return _Decision(problem, solver, memo).made()


class _Decision:
    """A problem on its way to a plan."""

    def __init__(self, problem: Problem, solver: Solver, memo: Memo) -> None:
        self._problem = problem
        self._solver = solver
        self._memo = memo
        self._prepared = memo.prepare(problem)
        self._tables = [p.table for p in self._prepared]
        self._faults: list[str] = []
        """What kept HiGHS from helping."""
        self._relaxed = self._from_highs(relax, problem, self._tables, memo, solver.time_limit_s)
        self._prices = self._relaxed.apps if self._relaxed else [guessed(problem, table) for table in self._tables]

    def made(self) -> Found:
        """By as few steps as lead to a plan that is proven to be good."""
        found = self._found()
        return replace(found, note="; ".join([*self._faults, *([found.note] if found.note else [])]))

    def _found(self) -> Found:
        if self._relaxed is not None and all(app.running for app in self._problem.apps):
            # Mostly a little is better than before, and near what runs: that takes no rounding.
            settlement, selection = self._searched()
            if settlement.is_near(selection):
                return settlement.settle(selection)
        settlement, selection = self._searched(*self._rounded())
        selection = settlement.stirred(selection)
        if settlement.is_exact or settlement.is_good(selection):
            return settlement.settle(selection)
        whole = self._whole()
        if whole is None or self._relaxed is None:
            return settlement.settle(selection)
        self._relaxed = self._relaxed.with_whole(whole.excess, whole.bound)
        settlement, selection = self._searched(whole.rounded, places_of(selection))
        return settlement.settle(selection)

    def _rounded(self) -> list[Sequence[Rounded]]:
        """The routes of the rounded relaxation, if there is one.

        Of an app alone the search tries every route, so that nothing is gained by a good beginning.
        """
        if self._relaxed is None or len(self._problem.apps) == 1:
            return []
        found = self._from_highs(rounded, self._relaxed, self._memo, self._solver.time_limit_s)
        return [found] if found else []

    def _whole(self) -> Integral | None:
        """What the integer program over options finds in the time that is left."""
        if self._relaxed is None or self._problem.objective == MAX_FAIRNESS:
            return None
        excess, time_limit_s = self._relaxed.least_excess, self._solver.time_limit_s
        return self._from_highs(integral, self._problem, self._tables, self._memo, excess, time_limit_s)

    def _from_highs(self, work: Callable[..., Result | None], *args: Any) -> Result | None:
        """What comes of it; None where HiGHS hangs or does not take it, which costs quality and no decision."""
        try:
            return work(*args)
        except (Hung, InternalError) as fault:
            self._faults.append(str(fault))
            return None

    def _searched(self, *near: Sequence[Rounded]) -> tuple[Settlement, Selection]:
        """The best selection among the routes that are cheapest at the relaxation's prices, or at guessed ones.

        Each of `near` has a route for every app to begin with.
        """
        board_routes = []
        for position, (prepared, prices) in enumerate(zip(self._prepared, self._prices, strict=True)):
            routes = [of_apps[position] for of_apps in near]
            board_routes.append(candidates_of(prepared, prices, routes, len(self._prepared)))
        board = board_of(self._problem, self._tables, [c.routes for c in board_routes])
        pressures = [p.pressures(r.policy, r.picks) for p, r in zip(self._prices, board.routes, strict=True)]
        least = self._relaxed.least_excess if self._relaxed else {}
        selection = search(board, pressures, _known(board_routes), [c.fastest for c in board_routes], least)
        return Settlement(board, board_routes, pressures, self._relaxed, self._solver), selection


def _known(candidates: Sequence[Candidates]) -> list[list[int]]:
    """Selections to begin with: those asked for, and what runs now; the fastest where an app has none."""
    starts = [*zip(*(c.near for c in candidates), strict=True), tuple(c.running for c in candidates)]
    return [
        [c.fastest if row is None else row for row, c in zip(rows, candidates, strict=True)]
        for rows in starts
        if any(row is not None for row in rows)
    ]


def _checked(found: Found, problem: Problem, number: int, memo: Memo) -> Plan:
    """The plan of what was found, if it holds when worked out again; else that of the fastest routes, which says so."""
    tables = [p.whole for p in memo.prepare(found.choice.problem)]
    plan = replace(plan_of(found.choice, number, tables), status=found.status, gap=found.gap, note=found.note)
    wrong = violations(problem, plan)
    if not wrong:
        return plan
    plan = replace(plan_of(_fastest(found.choice.problem), number), status="greedy", gap=None, note="; ".join(wrong))
    if violations(problem, plan):
        raise InternalError(f"no plan holds when it is worked out again: {plan.note}")
    return plan


def _fastest(problem: Problem) -> Choice:
    """The quickest option of every block, whatever it costs otherwise."""
    picks = [[min(range(len(b)), key=lambda i: (b[i].latency_p95_ms, i)) for b in app.blocks] for app in problem.apps]
    return choose(problem, picks)
