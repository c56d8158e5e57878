"""What a choice would do to every app, as a plan, and which limits stand in the way of a better one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schedulerd.control.choice import TOLERANCE, Choice, choose, utilisation_of
from schedulerd.control.problem import AppOptions, Problem
from schedulerd.plan import AppPlan, Excess, Plan, Route


def better_steps(choice: Choice, position: int) -> Iterator[Choice]:
    """For each block of one app, the choice that takes the next more accurate option there."""
    for block, options in enumerate(choice.problem.apps[position].blocks):
        drop = choice.option(position, block).accuracy_drop
        above = [i for i, o in enumerate(options) if o.accuracy_drop < drop]
        if above:
            pick = max(above, key=lambda i: (options[i].accuracy_drop, -options[i].latency_ms, -i))
            yield choice.step(position, block, pick)


def forbidden_by(choice: Choice, step: Choice) -> tuple[Excess, ...]:
    """The limits that a step would break, or break further."""
    before = {e.limit: e.share for e in choice.broken()}
    return tuple(e for e in step.broken() if e.share > before.get(e.limit, 0.0) + TOLERANCE)


def plan_of(choice: Choice, number: int = 0) -> Plan:
    """The plan that a choice is, with the limits that bind it."""
    problem = choice.problem
    broken = choice.broken()
    weights = sum(a.app.priority for a in problem.apps)
    return Plan(
        number=number,
        apps=tuple(_app_plan(choice, position) for position in range(len(problem.apps))),
        memory_bytes=choice.memory_bytes,
        memory_limit_bytes=problem.limits.memory_bytes,
        utilisation=utilisation_of(problem, choice.costs),
        binding=_binding(choice, broken),
        weighted_accuracy=1.0 - choice.loss / weights if weights else 0.0,
        broken=broken,
    )


def predict(problem: Problem, routes: Mapping[str, Route], number: int = 0) -> Plan:
    """What `routes` (by app id) would give under `problem`; the plan's `status` and `gap` say nothing then.

    Raises:
        KeyError: an app has no route, or its route names a variant that the problem does not offer.
    """
    return plan_of(choice_of(problem, routes), number)


def choice_of(problem: Problem, routes: Mapping[str, Route]) -> Choice:
    """`routes` (by app id) as a choice among the problem's options; raises as `predict` does."""
    return choose(problem, [_picks(app, routes) for app in problem.apps])


def _picks(app: AppOptions, routes: Mapping[str, Route]) -> list[int]:
    app_id = app.app.app_id
    if app_id not in routes:
        raise KeyError(f"app {app_id!r} has no route; there are routes for {', '.join(sorted(routes)) or 'nobody'}")
    variants = routes[app_id].variants
    if len(variants) != len(app.blocks):
        raise KeyError(f"the route of {app_id!r} has {len(variants)} blocks, its model has {len(app.blocks)}")
    picks = []
    for block, variant in enumerate(variants):
        names = [o.variant for o in app.blocks[block]]
        if variant not in names:
            raise KeyError(f"{app_id!r}: block {block} offers {', '.join(names)}, the route wants {variant!r}")
        picks.append(names.index(variant))
    return picks


def _app_plan(choice: Choice, position: int) -> AppPlan:
    problem, app, cost = choice.problem, choice.problem.apps[position], choice.costs[position]
    options = choice.options(position)
    p95_ms = choice.p95_ms(position)
    return AppPlan(
        app_id=app.app.app_id,
        route=Route(app.app.model, tuple(o.variant for o in options), tuple(o.digest for o in options)),
        latency_ms=cost.median_ms,
        latency_p95_ms=p95_ms,
        accuracy=min(1.0, max(0.0, app.full_accuracy - cost.accuracy_drop)),
        memory_bytes=sum({o.digest: o.memory_bytes for o in options}.values()),
        utilisation=app.app.rate_hz * cost.median_ms / 1000.0,
        block_ms=tuple(problem.slowdown * o.latency_ms for o in options),
        miss_ms=p95_ms - app.app.budget_ms if p95_ms > app.app.budget_ms * (1.0 + TOLERANCE) else 0.0,
    )


def _binding(choice: Choice, broken: Sequence[Excess]) -> tuple[str, ...]:
    """Limits that are broken, that forbid some block its next better option, and floors that hold an app up."""
    names = {e.limit for e in broken}
    for position in range(len(choice.problem.apps)):
        for step in better_steps(choice, position):
            names.update(e.limit for e in forbidden_by(choice, step))
    shared = names & {"memory", "utilisation"}
    for position, app in enumerate(choice.problem.apps):
        pressed = shared or f"budget:{app.app.app_id}" in names
        if app.app.accuracy_floor > choice.floors[position] + TOLERANCE or (pressed and _held_up(choice, position)):
            names.add(f"floor:{app.app.app_id}")
    order = {"memory": 0, "utilisation": 1}
    return tuple(sorted(names, key=lambda name: (order.get(name, 2), name)))


def _held_up(choice: Choice, position: int) -> bool:
    """Whether an app has less accurate, cheaper options and its floor forbids every one."""
    app, cost = choice.problem.apps[position], choice.costs[position]
    slack = app.full_accuracy - cost.accuracy_drop - choice.floors[position]
    further = [
        o.accuracy_drop - present.accuracy_drop
        for present, block in zip(choice.options(position), app.blocks, strict=True)
        for o in block
        if o.accuracy_drop > present.accuracy_drop
        and (o.latency_p95_ms < present.latency_p95_ms or o.memory_bytes < present.memory_bytes)
    ]
    return bool(further) and min(further) > slack + TOLERANCE
