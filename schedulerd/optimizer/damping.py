"""Whether a better plan is worth the change: pure, apart from deciding what is best.

A change is weighed in the objective's own terms, as shares of an app (`worth`): what it gains there, less what the swap
loads and exchanges (`cost.Swapping`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schedulerd.optimizer.choice import Choice
from schedulerd.optimizer.cost import MEMORY_RANK, TOLERANCE, weight_of
from schedulerd.optimizer.predict import choice_of
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.variations import keeps_pins
from schedulerd.optimizer.worth import is_fair, worths
from schedulerd.plan import Excess, Plan, difference, relief

_EQUAL: Final = 1e-5
"""Losses this close are the same: then the app that loses most does not decide."""


@dataclass(frozen=True, slots=True)
class DampingSettings:
    """How eagerly plans change when nobody asked."""

    min_dwell_s: float = 2.0
    """A plan that keeps its limits stands at least this long."""
    min_gain: float = 0.005
    """What a change must bring beyond what it costs, as a share of an app: of accuracy, of the budgets, or of power."""
    min_relief: float = 0.02
    """Share of a limit by which a change must lower what is exceeded."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Keep the running plan, or change to the candidate."""

    change: bool
    reason: str


def keep_or_change(
    problem: Problem,
    running: Plan,
    candidate: Plan,
    *,
    urgent: bool,
    since_change_s: float,
    settings: DampingSettings,
) -> Decision:
    """Decide whether `candidate` replaces `running`.

    Args:
        problem: that `candidate` solves.
        running: the routes in use, predicted under that problem.
        candidate: the best plan for it.
        urgent: an app joined or left, or somebody changed a budget or a limit: never damped.
        since_change_s: how long the running plan has stood.
        settings: dwell and least gains.
    """
    if urgent:
        return Decision(True, "somebody asked for it")
    if {a.app_id for a in running.apps} != {a.app_id for a in candidate.apps}:
        return Decision(True, "the apps are others")
    if not difference(running, candidate):
        return Decision(False, "the routes are the same")
    if strays := _strays(problem, running):
        return Decision(True, f"{', '.join(strays)} runs something else than is pinned")
    relieved = relief(running.broken, candidate.broken, settings.min_relief)
    if relieved > 0 or relief(_of_memory(running), _of_memory(candidate), TOLERANCE) > 0:
        return Decision(True, f"the running plan exceeds {_names(running)}")
    if relieved < 0:
        return Decision(False, f"the new plan would exceed {_names(candidate)} further")
    if since_change_s < settings.min_dwell_s:
        return Decision(False, f"the running plan is {since_change_s:.1f} s old, under {settings.min_dwell_s:g} s")
    gain, cost = gain_and_cost(problem, running, candidate)
    found = f"gain of {gain:.4f} by {problem.objective}, less {cost:.4f} for the swap"
    if gain - cost < settings.min_gain:
        return Decision(False, f"{found}, is under {settings.min_gain:g}")
    return Decision(True, found)


def _strays(problem: Problem, running: Plan) -> list[str]:
    """Apps that do not run what is pinned, though it is offered: it could not be loaded when the operator asked."""
    routes = {a.app_id: a.route for a in running.apps}
    return [a.app.app_id for a in problem.apps if not keeps_pins(a, routes[a.app.app_id])]


def _of_memory(plan: Plan) -> list[Excess]:
    """What the kernel acts upon, however little it is."""
    return [excess for excess in plan.broken if excess.rank <= MEMORY_RANK]


def _choice(problem: Problem, plan: Plan) -> Choice:
    return choice_of(problem, {a.app_id: a.route for a in plan.apps})


def gain_and_cost(problem: Problem, running: Plan, candidate: Plan) -> tuple[float, float]:
    """What a change between two plans of the same apps brings and what it costs, as means over the apps by priority."""
    return _gain_and_cost(_choice(problem, running), _choice(problem, candidate))


def _gain_and_cost(running: Choice, candidate: Choice) -> tuple[float, float]:
    weights = sum(app.app.priority for app in running.problem.apps)
    cost = (_swap_loss(candidate) - _swap_loss(running)) / weights
    gain = (_worth(running) - _worth(candidate)) / weights + cost
    if is_fair(running.problem):
        raised = _worst_loss(running) - _worst_loss(candidate)
        gain = raised if abs(raised) > _EQUAL else gain
    return gain, cost


def _worth(choice: Choice) -> float:
    """What the objective makes small, with the cost of the swap."""
    return sum(worth.of_cost(cost) for worth, cost in zip(worths(choice.problem), choice.costs, strict=True))


def _swap_loss(choice: Choice) -> float:
    return sum(cost.swap_loss for cost in choice.costs)


def _worst_loss(choice: Choice) -> float:
    """Of the app that loses most, as a share of its full accuracy."""
    pairs = zip(choice.problem.apps, choice.costs, strict=True)
    return max(weight_of(app) / app.app.priority * cost.accuracy_drop for app, cost in pairs)


def _names(plan: Plan) -> str:
    return ", ".join(e.limit for e in plan.broken) or "nothing"
