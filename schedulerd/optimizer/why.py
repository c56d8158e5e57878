"""Why an app runs what it runs: limits and what more of them would buy, the next better route, the runner-up. Pure.

Everything is found by deciding again on a problem that differs in one thing, so it holds for all apps together and
with all that the optimizer knows; the time is that of a few dozen decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.nearest import nearest_budget_ms
from schedulerd.optimizer.neighbours import SLIGHT, next_better
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.optimizer.variations import keeps_pins, only, other_than, position_of, relaxed, with_app
from schedulerd.optimizer.verdict import Judged, judged, verdict
from schedulerd.plan import AppPlan, Excess, Plan, Route

MORE: Final = 0.1
"""Share by which a binding limit is relaxed."""

Decide = Callable[[Problem], Plan]
"""`solve` with its other arguments."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One app under two plans."""

    app_id: str
    before: AppPlan | None
    """None where it joins."""
    after: AppPlan | None
    """None where it leaves."""

    @property
    def gain(self) -> float:
        """Accuracy that it gains, as an absolute fraction; 0 where it joins or leaves."""
        return self.after.accuracy - self.before.accuracy if self.before and self.after else 0.0

    @property
    def relief_ms(self) -> float:
        """By how much less it misses its budget; 0 where it joins or leaves."""
        return self.before.miss_ms - self.after.miss_ms if self.before and self.after else 0.0


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What a tenth more of a binding limit would buy, against the best plan under the limits as they are."""

    limit: str
    """As in `Plan.binding`."""
    before: float
    """The limit as it is: bytes for memory, W for power, ms for a budget, else a share."""
    after: float
    """Relaxed: a tenth more, of a floor a tenth less."""
    gain: float
    """Accuracy of the app, as an absolute fraction."""
    relief_ms: float
    """By how much less the app would miss its budget."""
    weighted_gain: float
    """Weighted accuracy of all apps."""


@dataclass(frozen=True, slots=True)
class Further:
    """A limit that another plan would exceed, or exceed by more than the running one."""

    limit: str
    """As in `Plan.binding`."""
    share: float
    """By how much it would be exceeded in all, as a share of the limit."""
    added: float
    """What of that the running plan does not exceed it by."""


@dataclass(frozen=True, slots=True)
class Better:
    """The next better route of the app: it differs in one block or exit policy, with the smallest gain."""

    route: Route
    accuracy: float
    gain: float
    """Accuracy that it would bring, as an absolute fraction."""
    latency_p95_ms: float
    """Its predicted 95th percentile while the others run what they do."""
    forbidden_by: tuple[Further, ...]
    """The limits that it would break, or break further, while the others run what they do; empty where it breaks
    none, and the optimizer has better uses for what it takes."""
    weighted_gain: float
    """Weighted accuracy of all, once the others have made room as well as they can; above 0 by the running plan's gap
    at most, where that is the best for `max-accuracy`."""
    broken: tuple[Excess, ...]
    """The limits that are exceeded even then."""
    miss_ms: float
    """By how much the app would miss its budget even then."""
    cost: tuple[Compared, ...]
    """The other apps whose accuracy or miss would change against the running plan."""


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The best plan in which the app runs another route than now."""

    route: Route
    accuracy: float
    """Of the app."""
    latency_p95_ms: float
    """Of the app."""
    miss_ms: float
    """Of the app."""
    weighted_accuracy: float
    """Of all."""
    weighted_gain: float
    """Against the running plan; above 0 where that is kept although it is no longer the best."""
    forbidden_by: tuple[Further, ...]
    """The limits that it breaks, or breaks further than the running plan."""
    broken: tuple[Excess, ...]
    """All limits that it breaks."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why an app runs what it runs."""

    app_id: str
    planned: AppPlan
    """What it runs, as predicted under the present problem."""
    binding: tuple[str, ...]
    """Limits that bind this app: its own, those that all apps share, and others that forbid its next better route."""
    relaxed: tuple[Relaxed, ...]
    """For each of `binding`, in the same order."""
    better: Better | None
    """None where no other block or exit policy gives `NOTICED` more accuracy."""
    runner_up: RunnerUp | None
    """None where the app has but one route."""
    nearest_budget_ms: float | None
    """Where it misses its budget, the least that would be met; None where it meets it, or no budget would be met."""
    unused_gain: float
    """Weighted accuracy that a new decision would bring under the same limits: above 0 while a change is not thought
    worth it."""


def why(problem: Problem, plan: Plan, app_id: str, solver: Solver) -> Why:
    """Why `app_id` runs its route of `plan` under `problem`.

    Raises:
        KeyError: no such app, or the plan has a route that the problem does not offer; the message says which.
    """
    position = position_of(problem, app_id)
    running = predict(problem, {a.app_id: a.route for a in plan.apps})
    planned = running.apps[position]
    memo = Memo()
    decide = partial(solve, solver=solver, number=0, memo=memo)
    best = best_of(problem, decide(problem), running)
    better = _better(problem, running, position, decide)
    binding = _binding(running, app_id, better)
    return Why(
        app_id=app_id,
        planned=planned,
        binding=binding,
        relaxed=tuple(_relaxed(problem, best, position, limit, decide) for limit in binding),
        better=better,
        runner_up=_runner_up(problem, running, best, position, decide),
        nearest_budget_ms=nearest_budget_ms(problem, app_id, solver, memo) if planned.miss_ms else None,
        unused_gain=best.weighted_accuracy - running.weighted_accuracy,
    )


def compared(before: Plan, after: Plan) -> tuple[Compared, ...]:
    """Every app of two plans, those of the first plan first."""
    names = dict.fromkeys(a.app_id for plan in (before, after) for a in plan.apps)
    return tuple(Compared(name, before.app(name), after.app(name)) for name in names)


def best_of(problem: Problem, found: Plan, known: Plan) -> Plan:
    """What was decided on, or the routes of another plan that can run, keep to the pins, and are as good or better.

    Plans are proven to within a gap, so what is known may be better; what is proven of `found` holds of it as well.
    """
    decided, kept = judged(problem, found, ()), judged(problem, known, ())
    strays = any(not keeps_pins(app, route.route) for app in problem.apps if (route := known.app(app.app.app_id)))
    if strays or verdict(decided, kept) not in ("better", "equal"):
        return decided.plan
    return replace(
        kept.plan, number=found.number, status=found.status, gap=found.gap, solve_ms=found.solve_ms, note=found.note
    )


def _binding(running: Plan, app_id: str, better: Better | None) -> tuple[str, ...]:
    """Shared limits hold nobody who could have no more."""
    forbidden = [e.limit for e in better.forbidden_by] if better else []
    shared = ["memory", "utilisation", "power"] if better else []
    ours = {f"budget:{app_id}", f"floor:{app_id}", *shared, *forbidden}
    return tuple(name for name in dict.fromkeys((*running.binding, *forbidden)) if name in ours)


def _relaxed(problem: Problem, best: Plan, position: int, limit: str, decide: Decide) -> Relaxed:
    looser = relaxed(problem, limit, MORE)
    plan = best_of(looser.problem, decide(looser.problem), best)
    one = Compared(best.apps[position].app_id, best.apps[position], plan.apps[position])
    return Relaxed(
        limit=limit,
        before=looser.before,
        after=looser.after,
        gain=one.gain,
        relief_ms=one.relief_ms,
        weighted_gain=plan.weighted_accuracy - best.weighted_accuracy,
    )


def _better(problem: Problem, running: Plan, position: int, decide: Decide) -> Better | None:
    present = running.apps[position]
    route = next_better(problem, position, present.route)
    if route is None:
        return None
    routes = {a.app_id: a.route for a in running.apps} | {present.app_id: route}
    alone = predict(problem, routes)
    forced = _solved_with(problem, position, only(problem.apps[position], route), decide).plan
    others = [c for c in compared(running, forced) if c.app_id != present.app_id]
    return Better(
        route=route,
        accuracy=alone.apps[position].accuracy,
        gain=alone.apps[position].accuracy - present.accuracy,
        latency_p95_ms=alone.apps[position].latency_p95_ms,
        forbidden_by=_further(running.broken, alone.broken),
        weighted_gain=forced.weighted_accuracy - running.weighted_accuracy,
        broken=forced.broken,
        miss_ms=forced.apps[position].miss_ms,
        cost=tuple(c for c in others if abs(c.gain) > SLIGHT or abs(c.relief_ms) > SLIGHT),
    )


def _solved_with(problem: Problem, position: int, app: AppOptions, decide: Decide) -> Judged:
    """The best plan with another choice for one app, judged by `problem`: fewer options make floors fall."""
    return judged(problem, decide(with_app(problem, position, app)), ())


def _further(before: Sequence[Excess], after: Sequence[Excess]) -> tuple[Further, ...]:
    """What is exceeded afterwards by more than before."""
    known = {e.limit: e.share for e in before}
    further = (Further(e.limit, e.share, e.share - known.get(e.limit, 0.0)) for e in after)
    return tuple(one for one in further if one.added > SLIGHT)


def _runner_up(problem: Problem, running: Plan, best: Plan, position: int, decide: Decide) -> RunnerUp | None:
    present = running.apps[position].route
    plan = best if best.apps[position].route != present else _best_other(problem, present, position, decide)
    if plan is None:
        return None
    planned = plan.apps[position]
    return RunnerUp(
        route=planned.route,
        accuracy=planned.accuracy,
        latency_p95_ms=planned.latency_p95_ms,
        miss_ms=planned.miss_ms,
        weighted_accuracy=plan.weighted_accuracy,
        weighted_gain=plan.weighted_accuracy - running.weighted_accuracy,
        forbidden_by=_further(running.broken, plan.broken),
        broken=plan.broken,
    )


def _best_other(problem: Problem, present: Route, position: int, decide: Decide) -> Plan | None:
    """The best of the best plans that avoid a route in its policy or in one block: every other one does."""
    found: Judged | None = None
    for app in other_than(problem.apps[position], present):
        other = _solved_with(problem, position, app, decide)
        if found is None or verdict(found, other) == "better":
            found = other
    return found.plan if found else None
