"""Other ways to choose: each app alone as LegoDNN does, whole models of one degree, and every combination there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from benchmarks.optimizer_gap import SAME, plan_loss
from benchmarks.optimizer_program import Column, PlainProgram, by_block, column, loss_of, priced, route_of
from schedulerd.optimizer.objectives import MIN_LATENCY
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Limits, Option, Problem
from schedulerd.plan import Plan, Route, relief

TIME_LIMIT_S: Final = 10.0
"""For a program of a peer; those here take milliseconds."""
_UNLIMITED: Final = 1e6
_NOTICEABLE: Final = 1e-4
"""Of the objective: plans closer than that are equally good. The optimizer's tie-break is a tenth of it."""


def legodnn(problem: Problem, *, sharing_time: bool = False) -> dict[str, Route]:
    """Each app alone: the least sum of accuracy drops within its budget and an equal share of the memory.

    The authors' code decides for one network, by the sum of its blocks' times, and knows neither of waits nor of blobs
    that are shared. It answers an impossible budget with the slowest network; here that is the fastest.

    Args: problem; sharing_time: each app gets an equal share of the lanes' time too, which the authors' code knows
    nothing of.
    """
    count, limits = len(problem.apps), problem.limits
    alone = Limits(limits.memory_bytes // count, _UNLIMITED, limits.lanes, overhead_ms=0.0)
    found: dict[str, Route] = {}
    for app in problem.apps:
        budget_ms = app.app.budget_ms
        if sharing_time:
            budget_ms = min(budget_ms, 1e3 / app.app.rate_hz * limits.utilisation_cap * limits.lanes / count)
        within = replace(app, app=replace(app.app, budget_ms=budget_ms))
        found |= _alone(Problem((within,), alone))
    return found


def _alone(problem: Problem) -> dict[str, Route]:
    """The best route of the only app, the fastest where none keeps the limits."""
    program = PlainProgram(problem, by_block(problem))
    program.minimise_cost()
    if program.solve("highs", TIME_LIMIT_S).value is not None:
        return program.routes()
    (app,) = problem.apps
    return {app.app.app_id: route_of(app, [min(block, key=lambda o: o.latency_ms) for block in app.blocks])}


def whole_models(problem: Problem) -> dict[str, Route] | None:
    """The best combination of whole models; None where none keeps all limits.

    As model-grained scaling has it, all blocks of a network are scaled to one degree. The degrees of all apps are
    chosen together and to the optimum of the problem's objective, `max-accuracy` or `min-latency`.
    """
    program = PlainProgram(problem, [[_degrees(app, problem.objective)] for app in problem.apps])
    program.minimise_cost()
    return None if program.solve("highs", TIME_LIMIT_S).value is None else program.routes()


def _degrees(app: AppOptions, objective: str) -> list[Column]:
    """A column for each kind of variant, taken in every block that has it; elsewhere the original stays."""
    names = dict.fromkeys(o.variant for block in app.blocks for o in block)
    routes = dict.fromkeys(tuple(_pick(block, name) for block in app.blocks) for name in names)
    return [_whole(app, picks, objective) for picks in routes]


def _pick(block: Sequence[Option], name: str) -> int:
    """The quickest form of the variant called `name`, or the original, which comes first."""
    forms = [i for i, o in enumerate(block) if o.variant == name]
    return min(forms, key=lambda i: block[i].latency_ms, default=0)


def _whole(app: AppOptions, picks: Sequence[int], objective: str) -> Column:
    options = tuple(block[pick] for block, pick in zip(app.blocks, picks, strict=True))
    loss = loss_of(app, picks)
    if objective == MIN_LATENCY:
        return column(options, loss, app.app.priority * sum(o.latency_ms for o in options) / app.app.budget_ms)
    return column(options, loss, priced(app, loss))


def exhaustive(problem: Problem) -> Plan:
    """The best of all combinations of options, by trying each."""
    return best_of(problem, (predict(problem, routes) for routes in _combinations(problem)))


def _combinations(problem: Problem) -> Iterator[Mapping[str, Route]]:
    names = [app.app.app_id for app in problem.apps]
    each = [[route_of(app, options) for options in itertools.product(*app.blocks)] for app in problem.apps]
    return (dict(zip(names, routes, strict=True)) for routes in itertools.product(*each))


def best_of(problem: Problem, plans: Iterator[Plan]) -> Plan:
    """The plan that exceeds its limits least, and of those the best by the problem's objective."""
    best = next(plans)
    for plan in plans:
        gained = relief(best.broken, plan.broken, SAME)
        if gained > 0 or (gained == 0 and value_of(problem, plan) < value_of(problem, best)):
            best = plan
    return best


def worse(problem: Problem, one: Plan, other: Plan) -> bool:
    """Whether `one` exceeds its limits further than `other`, or as far and is noticeably worse by the objective."""
    gained = relief(one.broken, other.broken, SAME)
    if gained:
        return gained > 0
    allowed = _NOTICEABLE * sum(app.app.priority for app in problem.apps)
    return value_of(problem, one) > value_of(problem, other) + allowed


def value_of(problem: Problem, plan: Plan) -> float:
    """What the problem's objective minimises, `max-accuracy` or `min-latency`, by the figures of a plan."""
    if problem.objective != MIN_LATENCY:
        return plan_loss(problem, plan)
    planned = {a.app_id: a.expected_ms for a in plan.apps}
    return sum(a.app.priority * planned[a.app.app_id] / a.app.budget_ms for a in problem.apps)
