"""What a choice would do to every app, as a plan, and which limits stand in the way of a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schedulerd.optimizer.accuracy import most_accurate_picks
from schedulerd.optimizer.binding import binding_limits
from schedulerd.optimizer.choice import Choice, choose
from schedulerd.optimizer.cost import TOLERANCE, activation_bytes, policies_of, utilisation_of
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.tables import Table, shared_digests, table_of
from schedulerd.plan import AppPlan, Plan, Route


def plan_of(choice: Choice, number: int = 0, tables: Sequence[Table] | None = None) -> Plan:
    """The plan that a choice is, with the limits that bind it.

    `tables` are those of its apps with every option, where the caller has them.
    """
    problem = choice.problem
    if tables is None:
        shared = shared_digests(problem)
        tables = [table_of(app, shared) for app in problem.apps]
    broken = choice.broken()
    weights = sum(a.app.priority for a in problem.apps)
    return Plan(
        number=number,
        apps=tuple(_app_plan(choice, position) for position in range(len(problem.apps))),
        memory_bytes=choice.memory_bytes,
        memory_limit_bytes=problem.limits.memory_bytes,
        utilisation=utilisation_of(problem, choice.costs),
        binding=binding_limits(choice, broken, tables),
        weighted_accuracy=1.0 - choice.loss / weights if weights else 0.0,
        broken=broken,
        objective=problem.objective,
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
    if len(route.digests) != depth:
        raise KeyError(f"the route of {app_id!r} has {len(route.digests)} digests for {depth} blocks")
    picks = []
    for block, wanted in enumerate(zip(variants, route.digests, strict=True)):
        offered = [(o.variant, o.digest) for o in app.blocks[block]]
        if wanted not in offered:
            told = ", ".join(f"{variant} ({digest[:12]})" for variant, digest in offered)
            raise KeyError(f"{app_id!r}: block {block} offers {told}, the route wants {wanted[0]} ({wanted[1][:12]})")
        picks.append(offered.index(wanted))
    return picks + most_accurate_picks(app)[depth:]


def _app_plan(choice: Choice, position: int) -> AppPlan:
    app, cost = choice.problem.apps[position], choice.costs[position]
    options, policy = choice.options(position), choice.policy(position)
    tail_ms = choice.tail_ms(position)
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
        latency_p95_ms=choice.p95_ms(position),
        accuracy=min(1.0, max(0.0, app.full_accuracy - cost.accuracy_drop)),
        memory_bytes=blobs_bytes + activation_bytes(choice.problem.limits, [cost]),
        utilisation=app.app.rate_hz * cost.expected_ms / 1000.0,
        block_ms=tuple(o.latency_ms for o in options),
        miss_ms=tail_ms - app.app.budget_ms if tail_ms > app.app.budget_ms * (1.0 + TOLERANCE) else 0.0,
        expected_ms=cost.expected_ms,
        exit_shares=policy.shares,
        energy_mj=cost.energy_mj if all(o.energy_mj is not None for o in options) else None,
    )
