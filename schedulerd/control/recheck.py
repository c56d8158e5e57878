"""Every number and limit of a plan, worked out again from the problem alone: no solver's word is taken for it.

Nothing of `choice` or `predict` is used here, so that a mistake there is found here.
"""

from __future__ import annotations

from collections.abc import Iterator

from schedulerd.control.problem import AppOptions, Option, Problem
from schedulerd.plan import AppPlan, Plan

_CLOSE = 2e-6
"""Relative difference that is rounding."""


def violations(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What is wrong with `plan`, in plain words; empty for a plan that may be applied.

    Wrong is a route that cannot run, a number that is not what the problem gives, and a limit that is exceeded
    without the plan owning up to it in `broken`.
    """
    unfit = tuple(_unfit(problem, plan))
    if unfit:
        return unfit  # its numbers cannot be worked out
    chosen = [_chosen(a, planned) for a, planned in _pairs(problem, plan)]
    return (*_wrong_numbers(problem, plan, chosen), *_broken_limits(problem, plan, chosen))


def _pairs(problem: Problem, plan: Plan) -> Iterator[tuple[AppOptions, AppPlan]]:
    planned = {a.app_id: a for a in plan.apps}
    for app in problem.apps:
        yield app, planned[app.app.app_id]


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
        elif not len(route.variants) == len(route.digests) == len(planned.block_ms) == len(app.blocks):
            yield f"{name}: the route has {len(route.variants)} blocks, the model {len(app.blocks)}"
        else:
            for index, (variant, digest) in enumerate(zip(route.variants, route.digests, strict=True)):
                if not any(o.variant == variant and o.digest == digest for o in app.blocks[index]):
                    yield f"{name}: block {index} has no variant {variant!r} with blob {digest[:12]}"


def _chosen(app: AppOptions, planned: AppPlan) -> list[Option]:
    return [
        next(o for o in block if (o.variant, o.digest) == pair)
        for block, pair in zip(app.blocks, zip(planned.route.variants, planned.route.digests, strict=True), strict=True)
    ]


def _p95_ms(problem: Problem, chosen: list[list[Option]], position: int) -> float:
    """Own blocks, overhead, and the longest block of anybody else."""
    own = sum(o.latency_p95_ms for o in chosen[position])
    others = [o.latency_ms for p, options in enumerate(chosen) if p != position for o in options]
    return problem.slowdown * (own + max(others, default=0.0)) + problem.limits.overhead_ms


def _memory_bytes(chosen: list[list[Option]]) -> int:
    return sum({o.digest: o.memory_bytes for options in chosen for o in options}.values())


def _utilisation(problem: Problem, chosen: list[list[Option]]) -> float:
    busy_ms = sum(
        app.app.rate_hz * problem.slowdown * o.latency_ms
        for app, options in zip(problem.apps, chosen, strict=True)
        for o in options
    )
    return busy_ms / 1000.0 / problem.limits.lanes


def _wrong_numbers(problem: Problem, plan: Plan, chosen: list[list[Option]]) -> Iterator[str]:
    for position, (app, planned) in enumerate(_pairs(problem, plan)):
        options, name = chosen[position], app.app.app_id
        median_ms = problem.slowdown * sum(o.latency_ms for o in options)
        p95_ms = _p95_ms(problem, chosen, position)
        accuracy = app.full_accuracy - sum(o.accuracy_drop for o in options)
        figures = [
            ("latency_ms", planned.latency_ms, median_ms),
            ("latency_p95_ms", planned.latency_p95_ms, p95_ms),
            ("accuracy", planned.accuracy, min(1.0, max(0.0, accuracy))),
            ("memory_bytes", planned.memory_bytes, _memory_bytes([options])),
            ("utilisation", planned.utilisation, app.app.rate_hz * median_ms / 1000.0),
            ("miss_ms", planned.miss_ms, max(0.0, p95_ms - app.app.budget_ms)),
        ]
        figures += [
            (f"block_ms[{index}]", block_ms, problem.slowdown * option.latency_ms)
            for index, (block_ms, option) in enumerate(zip(planned.block_ms, options, strict=True))
        ]
        for figure, stated, found in figures:
            if not _equal(stated, found, app.app.budget_ms if figure == "miss_ms" else found):
                yield f"{name}: {figure} is {found:.9g}, the plan says {stated:.9g}"
    yield from _wrong_totals(problem, plan, chosen)


def _wrong_totals(problem: Problem, plan: Plan, chosen: list[list[Option]]) -> Iterator[str]:
    figures = [
        ("memory_bytes", plan.memory_bytes, _memory_bytes(chosen)),
        ("memory_limit_bytes", plan.memory_limit_bytes, problem.limits.memory_bytes),
        ("utilisation", plan.utilisation, _utilisation(problem, chosen)),
    ]
    for figure, stated, found in figures:
        if not _equal(stated, found, found):
            yield f"plan: {figure} is {found:.9g}, the plan says {stated:.9g}"


def _broken_limits(problem: Problem, plan: Plan, chosen: list[list[Option]]) -> Iterator[str]:
    """Limits that are exceeded and not owned up to."""
    owned = {e.limit for e in plan.broken}
    limits = problem.limits
    uses = [
        ("memory", _memory_bytes(chosen), limits.memory_bytes),
        ("utilisation", _utilisation(problem, chosen), limits.utilisation_cap),
    ]
    for position, app in enumerate(problem.apps):
        uses.append((f"budget:{app.app.app_id}", _p95_ms(problem, chosen, position), app.app.budget_ms))
    for name, use, limit in uses:
        if use > limit + _CLOSE * max(abs(limit), 1.0) and name not in owned:
            yield f"{name}: {use:.9g} is over the limit of {limit:.9g}, and the plan does not say so"
    for app, options in zip(problem.apps, chosen, strict=True):
        name = f"floor:{app.app.app_id}"
        drop = sum(o.accuracy_drop for o in options)
        least_drop = max(0.0, sum(min(o.accuracy_drop for o in block) for block in app.blocks))
        floor = min(app.app.accuracy_floor, app.full_accuracy - least_drop)
        if app.full_accuracy - drop < floor - _CLOSE and name not in owned:
            yield f"{name}: accuracy {app.full_accuracy - drop:.6f} is under the floor of {floor:.6f}"


def _equal(stated: float, found: float, scale: float) -> bool:
    """Equal but for rounding; a NaN equals nothing."""
    return abs(stated - found) <= _CLOSE * max(abs(scale), 1e-6)
