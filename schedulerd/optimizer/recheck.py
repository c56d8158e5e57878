"""Every number and limit of a plan, worked out again from the problem alone: no solver's word is taken for it.

Nothing of `cost`, `choice` or `predict` is used here, so that a mistake there is found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blockstore.exits import NO_EXITS
from schedulerd.optimizer.problem import AppOptions, PolicyOption, Problem
from schedulerd.optimizer.recheck_costs import Ran, least_loss, memory_bytes, power_w, utilisation, waits_ms
from schedulerd.plan import AppPlan, Plan

_CLOSE = 2e-6
"""Relative difference that is rounding."""
_MEASURED = 95.0
"""The percentile that every plan states beside the one that an app's budget is about."""


def violations(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What is wrong with `plan`, in plain words; empty for a plan that may be applied.

    Wrong is a route that cannot run, a number that is not what the problem gives, and a limit that is exceeded
    without the plan owning up to it in `broken`.
    """
    unfit = tuple(_unfit(problem, plan))
    if unfit:
        return unfit  # its numbers cannot be worked out
    chosen = [_chosen(a, planned) for a, planned in _pairs(problem, plan)]
    # Overhead, and the longest wait for others.
    beside_ms = [wait_ms + problem.limits.overhead_ms for wait_ms in waits_ms(problem, chosen)]
    return (
        *_wrong_numbers(problem, plan, chosen, beside_ms),
        *_wrong_totals(problem, plan, chosen),
        *_broken_limits(problem, plan, chosen, beside_ms),
        *_broken_floors(plan, chosen),
    )


def _pairs(problem: Problem, plan: Plan) -> Iterator[tuple[AppOptions, AppPlan]]:
    planned = {a.app_id: a for a in plan.apps}
    for app in problem.apps:
        yield app, planned[app.app.app_id]


# Routes.


def _unfit(problem: Problem, plan: Plan) -> Iterator[str]:
    wanted = sorted(a.app.app_id for a in problem.apps)
    given = sorted(a.app_id for a in plan.apps)
    if wanted != given:
        yield f"apps: the plan is for {given}, the problem for {wanted}"
        return
    for app, planned in _pairs(problem, plan):
        name, route = app.app.app_id, planned.route
        if route.model != app.app.model:
            yield f"{name}: the route is of model {route.model!r}, the app's is {app.app.model!r}"
        elif route.policy not in ([p.policy for p in app.policies] or [NO_EXITS]):
            yield f"{name}: the model has no exit policy {route.policy}"
        elif not len(route.variants) == len(route.digests) == len(planned.block_ms) == _depth(app, planned):
            yield f"{name}: the route has {len(route.variants)} blocks, the model {_depth(app, planned)}"
        else:
            yield from _unfit_blobs(app, planned)


def _unfit_blobs(app: AppOptions, planned: AppPlan) -> Iterator[str]:
    name, route, policy = app.app.app_id, planned.route, _policy(app, planned)
    for index, (variant, digest) in enumerate(zip(route.variants, route.digests, strict=True)):
        if not any(o.variant == variant and o.digest == digest for o in app.blocks[index]):
            yield f"{name}: block {index} has no variant {variant!r} with blob {digest[:12]}"
        pin = app.pins[index] if app.pins else ""
        if pin != variant and any(o.variant == pin for o in app.blocks[index]):
            yield f"{name}: block {index} runs {variant!r}, and is pinned to {pin!r}"
    held = app.pinned_exits
    if held not in ((), route.policy.steps) and any(p.policy.steps == held for p in app.policies):
        yield f"{name}: the exit policy is {route.policy}, and another one is pinned"
    wanted = tuple(head.digest for head in policy.heads) if policy else ()
    if route.heads != wanted:
        yield f"{name}: the route has {len(route.heads)} heads, {route.heads}; its policy loads {wanted}"
    if len(planned.exit_shares) != len(route.policy.steps):
        yield f"{name}: there are {len(planned.exit_shares)} exit shares for {len(route.policy.steps)} steps"


def _policy(app: AppOptions, planned: AppPlan) -> PolicyOption | None:
    """The policy of the route; None for a model without exits."""
    return next((option for option in app.policies if option.policy == planned.route.policy), None)


def _depth(app: AppOptions, planned: AppPlan) -> int:
    """How many blocks the policy lets some frame reach."""
    policy = _policy(app, planned)
    return len([share for share in policy.reach if share > 0]) if policy else len(app.blocks)


def _chosen(app: AppOptions, planned: AppPlan) -> Ran:
    route = planned.route
    options = tuple(
        next(o for o in app.blocks[block] if (o.variant, o.digest) == pair)
        for block, pair in enumerate(zip(route.variants, route.digests, strict=True))
    )
    return Ran(app, options, _policy(app, planned))


# Numbers.


def _wrong_numbers(problem: Problem, plan: Plan, chosen: Sequence[Ran], beside_ms: Sequence[float]) -> Iterator[str]:
    for (app, planned), ran, waiting_ms in zip(_pairs(problem, plan), chosen, beside_ms, strict=True):
        budget_ms = app.app.budget_ms
        miss_ms = max(0.0, ran.tail_ms(app.app.percentile) + waiting_ms - budget_ms)
        for figure, stated, found in _figures(problem, planned, ran, waiting_ms):
            if not _equal(stated, found, found):
                yield f"{app.app.app_id}: {figure} is {found:.9g}, the plan says {stated:.9g}"
        if not _equal(planned.miss_ms, miss_ms, budget_ms):
            yield f"{app.app.app_id}: miss_ms is {miss_ms:.9g}, the plan says {planned.miss_ms:.9g}"


def _figures(problem: Problem, planned: AppPlan, ran: Ran, waiting_ms: float) -> Iterator[tuple[str, float, float]]:
    """Name, as the plan says, as it is."""
    expected_ms = ran.expected_ms
    yield "latency_ms", planned.latency_ms, sum(ran.times_ms)
    yield "latency_p95_ms", planned.latency_p95_ms, ran.tail_ms(_MEASURED) + waiting_ms
    yield "accuracy", planned.accuracy, min(1.0, max(0.0, ran.app.full_accuracy - ran.loss))
    yield "memory_bytes", planned.memory_bytes, memory_bytes(problem, [ran])
    yield "utilisation", planned.utilisation, ran.app.app.rate_hz * expected_ms / 1000.0
    yield "expected_ms", planned.expected_ms, expected_ms
    if planned.energy_mj is not None:
        yield "energy_mj", planned.energy_mj, ran.energy_mj
    for index, (block_ms, option) in enumerate(zip(planned.block_ms, ran.options, strict=True)):
        yield f"block_ms[{index}]", block_ms, option.latency_ms
    for index, (stated, share) in enumerate(zip(planned.exit_shares, ran.shares, strict=True)):
        yield f"exit_shares[{index}]", stated, share


def _wrong_totals(problem: Problem, plan: Plan, chosen: Sequence[Ran]) -> Iterator[str]:
    figures = [
        ("memory_bytes", plan.memory_bytes, memory_bytes(problem, chosen)),
        ("memory_limit_bytes", plan.memory_limit_bytes, problem.limits.memory_bytes),
        ("utilisation", plan.utilisation, utilisation(problem, chosen)),
        ("weighted_accuracy", plan.weighted_accuracy, _weighted_accuracy(chosen)),
    ]
    for figure, stated, found in figures:
        if not _equal(stated, found, found):
            yield f"plan: {figure} is {found:.9g}, the plan says {stated:.9g}"
    if plan.objective != problem.objective:
        yield f"plan: objective is {problem.objective!r}, the plan says {plan.objective!r}"


def _weighted_accuracy(chosen: Sequence[Ran]) -> float:
    """Mean of what is left of each app's full accuracy, by priority."""
    weights = sum(ran.app.app.priority for ran in chosen)
    left = sum(ran.app.app.priority * (1.0 - ran.loss / (ran.app.full_accuracy or 1.0)) for ran in chosen)
    return left / weights if weights else 0.0


# Limits.


def _broken_limits(problem: Problem, plan: Plan, chosen: Sequence[Ran], beside_ms: Sequence[float]) -> Iterator[str]:
    """What is exceeded and not owned up to."""
    owned = {e.limit for e in plan.broken}
    for name, use, limit in _uses(problem, chosen, beside_ms):
        if not use <= limit + _CLOSE * max(abs(limit), 1.0) and name not in owned:
            yield f"{name}: {use:.9g} is over the limit of {limit:.9g}, and the plan does not say so"


def _uses(problem: Problem, chosen: Sequence[Ran], beside_ms: Sequence[float]) -> Iterator[tuple[str, float, float]]:
    """Name, use and limit of all but the floors."""
    limits = problem.limits
    yield "memory", memory_bytes(problem, chosen), limits.memory_bytes
    yield "utilisation", utilisation(problem, chosen), limits.utilisation_cap
    if limits.power_cap_w is not None:
        yield "power", power_w(chosen), limits.power_cap_w
    for ran, waiting_ms in zip(chosen, beside_ms, strict=True):
        app = ran.app.app
        yield f"budget:{app.app_id}", ran.tail_ms(app.percentile) + waiting_ms, app.budget_ms


def _broken_floors(plan: Plan, chosen: Sequence[Ran]) -> Iterator[str]:
    """As far as any route could hold them."""
    owned = {e.limit for e in plan.broken}
    for ran in chosen:
        app, name = ran.app, f"floor:{ran.app.app.app_id}"
        accuracy = app.full_accuracy - ran.loss
        floor = min(app.app.accuracy_floor, app.full_accuracy - max(0.0, least_loss(app)))
        if accuracy < floor - _CLOSE and name not in owned:
            yield f"{name}: accuracy {accuracy:.6f} is under the floor of {floor:.6f}"


def _equal(stated: float, found: float, scale: float) -> bool:
    """Equal but for rounding; a NaN equals nothing."""
    return abs(stated - found) <= _CLOSE * max(abs(scale), 1e-6)
