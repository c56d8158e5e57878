"""What a choice would do to every app, as a plan, and which limits stand in the way of a better one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schedulerd.control.choice import Choice, Step, best_picks, choose
from schedulerd.control.cost import TOLERANCE, activation_bytes, policies_of, utilisation_of
from schedulerd.control.problem import AppOptions, Option, Problem
from schedulerd.plan import AppPlan, Excess, Plan, Route


def better_steps(choice: Choice, position: int) -> Iterator[Choice]:
    """For each block of one app, and for its policy, the choice that takes the next more accurate one there."""
    app, cost = choice.problem.apps[position], choice.costs[position]
    for block, present in enumerate(choice.options(position)):
        options = app.blocks[block]
        above = [i for i, o in enumerate(options) if o.accuracy_drop < present.accuracy_drop]
        if above:
            pick = max(above, key=lambda i: (options[i].accuracy_drop, -options[i].latency_ms, -i))
            yield choice.step(Step(position, block, pick))
    steps = [Step(position, None, number) for number in range(len(app.policies))]
    better = [(after, s) for s in steps if (after := choice.cost_after(s)).accuracy_drop < cost.accuracy_drop]
    if better:
        _, step = max(better, key=lambda found: (found[0].accuracy_drop, -found[0].expected_ms, -found[1].pick))
        yield choice.step(step)


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
        KeyError: an app has no route, or its route names a variant or a policy that the problem does not offer.
    """
    return plan_of(choice_of(problem, routes), number)


def choice_of(problem: Problem, routes: Mapping[str, Route]) -> Choice:
    """`routes` (by app id) as a choice among the problem's options; raises as `predict` does."""
    for app_id in (app.app.app_id for app in problem.apps):
        if app_id not in routes:
            raise KeyError(f"app {app_id!r} has no route; there are routes for {', '.join(sorted(routes)) or 'nobody'}")
    taken = [routes[app.app.app_id] for app in problem.apps]
    policies = [_policy(app, route) for app, route in zip(problem.apps, taken, strict=True)]
    picks = [_picks(app, route, number) for app, route, number in zip(problem.apps, taken, policies, strict=True)]
    return choose(problem, picks, policies)


def offers(app: AppOptions, route: Route) -> bool:
    """Whether the problem has everything that a route is made of."""
    try:
        _picks(app, route, _policy(app, route))
    except KeyError:
        return False
    return True


def _policy(app: AppOptions, route: Route) -> int:
    known = [option.policy for option in policies_of(app)]
    if route.policy not in known:
        offered = "; ".join(map(str, known))
        raise KeyError(f"{app.app.app_id!r} has the exit policies {offered}; the route wants {route.policy}")
    return known.index(route.policy)


def _picks(app: AppOptions, route: Route, policy: int) -> list[int]:
    """The best options stand for blocks that no frame reaches."""
    app_id, depth, variants = app.app.app_id, policies_of(app)[policy].depth, route.variants
    if len(variants) != depth:
        raise KeyError(f"the route of {app_id!r} has {len(variants)} blocks, its model has {depth}")
    picks = []
    for block, variant in enumerate(variants):
        names = [o.variant for o in app.blocks[block]]
        if variant not in names:
            raise KeyError(f"{app_id!r}: block {block} offers {', '.join(names)}, the route wants {variant!r}")
        picks.append(names.index(variant))
    return picks + best_picks(app)[depth:]


def _app_plan(choice: Choice, position: int) -> AppPlan:
    app, cost = choice.problem.apps[position], choice.costs[position]
    options, policy = choice.options(position), choice.policy(position)
    p95_ms = choice.p95_ms(position)
    blobs_bytes = sum({blob.digest: blob.memory_bytes for blob in choice.blobs(position)}.values())
    return AppPlan(
        app_id=app.app.app_id,
        route=Route(
            model=app.app.model,
            variants=tuple(o.variant for o in options),
            digests=tuple(o.digest for o in options),
            policy=policy.policy,
            heads=tuple(head.digest for head in policy.heads),
        ),
        latency_ms=cost.median_ms,
        latency_p95_ms=p95_ms,
        accuracy=min(1.0, max(0.0, app.full_accuracy - cost.accuracy_drop)),
        memory_bytes=blobs_bytes + activation_bytes(choice.problem.limits, [cost]),
        utilisation=app.app.rate_hz * cost.expected_ms / 1000.0,
        block_ms=tuple(o.latency_ms for o in options),
        miss_ms=p95_ms - app.app.budget_ms if p95_ms > app.app.budget_ms * (1.0 + TOLERANCE) else 0.0,
        expected_ms=cost.expected_ms,
        exit_shares=policy.shares,
    )


def _binding(choice: Choice, broken: Sequence[Excess]) -> tuple[str, ...]:
    """Limits that are broken, that forbid some app its next better option or policy, and floors that hold one up."""
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
    """Whether an app has less accurate, cheaper options or policies and its floor forbids every one."""
    app, cost = choice.problem.apps[position], choice.costs[position]
    slack = app.full_accuracy - cost.accuracy_drop - choice.floors[position]
    further = [
        o.accuracy_drop - present.accuracy_drop
        for present, block in zip(choice.options(position), app.blocks, strict=False)
        for o in block
        if o.accuracy_drop > present.accuracy_drop and _is_cheaper(o, present)
    ]
    others = (choice.cost_after(Step(position, None, number)) for number in range(len(app.policies)))
    further += [
        other.accuracy_drop - cost.accuracy_drop
        for other in others
        if other.accuracy_drop > cost.accuracy_drop
        and (other.p95_ms < cost.p95_ms or other.expected_ms < cost.expected_ms)
    ]
    return bool(further) and min(further) > slack + TOLERANCE


def _is_cheaper(one: Option, other: Option) -> bool:
    return (
        one.latency_p95_ms < other.latency_p95_ms
        or one.memory_bytes < other.memory_bytes
        or one.arena_bytes < other.arena_bytes
    )
