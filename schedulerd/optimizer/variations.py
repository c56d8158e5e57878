"""Problems that differ from a given one in one thing: what explanations solve again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from schedulerd.optimizer.problem import AppOptions, Option, PolicyOption, Problem
from schedulerd.plan import Route


def position_of(problem: Problem, app_id: str) -> int:
    """Where an app stands in `Problem.apps`; KeyError names the apps there are."""
    names = [a.app.app_id for a in problem.apps]
    if app_id not in names:
        raise KeyError(f"no app {app_id!r}; there are {', '.join(names) or 'none'}")
    return names.index(app_id)


def with_app(problem: Problem, position: int, app: AppOptions) -> Problem:
    """The same problem with another app in that place."""
    return replace(problem, apps=(*problem.apps[:position], app, *problem.apps[position + 1 :]))


def with_budget(problem: Problem, app_id: str, budget_ms: float) -> Problem:
    """The same problem with another budget of one app; KeyError as `position_of`."""
    position = position_of(problem, app_id)
    app = problem.apps[position]
    return with_app(problem, position, replace(app, app=replace(app.app, budget_ms=budget_ms)))


def slower(problem: Problem, factor: float) -> Problem:
    """The same problem on a board where everything takes `factor` times as long."""

    def option(known: Option) -> Option:
        return replace(known, latency_ms=factor * known.latency_ms, latency_p95_ms=factor * known.latency_p95_ms)

    def policy(known: PolicyOption) -> PolicyOption:
        heads_ms = tuple(factor * ms for ms in known.heads_ms)
        return replace(known, heads_ms=heads_ms, heads_p95_ms=tuple(factor * ms for ms in known.heads_p95_ms))

    apps = (
        replace(
            app,
            blocks=tuple(tuple(map(option, block)) for block in app.blocks),
            policies=tuple(map(policy, app.policies)),
        )
        for app in problem.apps
    )
    return replace(problem, apps=tuple(apps))


def pinned(app: AppOptions) -> AppOptions:
    """An app with nothing but the variants and the policy that its pins leave, and so without pins."""
    if not app.pins and not app.pinned_exits:
        return app
    matching = [
        [i for i, option in enumerate(block) if option.variant == pin]
        for block, pin in zip(app.blocks, app.pins or ("",) * len(app.blocks), strict=True)
    ]
    kept = [keep or list(range(len(block))) for keep, block in zip(matching, app.blocks, strict=True)]
    wanted = tuple(policy for policy in app.policies if policy.policy.steps == app.pinned_exits)
    return _keeping(app, kept, wanted or app.policies)


def keeps_pins(app: AppOptions, route: Route) -> bool:
    """Whether a route runs what is pinned, as far as that is offered."""
    if route.policy.steps != app.pinned_exits and app.pinned_exits in [p.policy.steps for p in app.policies]:
        return False
    pinned_blocks = zip(app.pins, app.blocks, route.variants, strict=False)
    return all(pin in ("", ran) or all(o.variant != pin for o in block) for pin, block, ran in pinned_blocks)


def only(app: AppOptions, route: Route) -> AppOptions:
    """An app that can run nothing but `route`, one of those it offers."""
    picks = _picks(app, route)
    kept = [[pick] for pick in picks] + [list(range(len(block))) for block in app.blocks[len(picks) :]]
    return _keeping(app, kept, _policies_of(app, route))


def other_than(app: AppOptions, route: Route) -> Iterator[AppOptions]:
    """Apps that together can run every route that `app` and its pins allow, but for `route`.

    The first has every other policy; each of the rest lacks what `route` runs in one of its blocks.
    """
    app = pinned(app)
    if not _offers(app, route):
        yield app
        return
    everything = [list(range(len(block))) for block in app.blocks]
    same = _policies_of(app, route)
    others = tuple(policy for policy in app.policies if policy not in same)
    if others:
        yield _keeping(app, everything, others)
    for block, pick in enumerate(_picks(app, route)):
        left = [i for i in everything[block] if i != pick]
        if left:
            yield _keeping(app, [*everything[:block], left, *everything[block + 1 :]], same)


def _offers(app: AppOptions, route: Route) -> bool:
    """Whether the app has every block of a route."""
    pairs = zip(route.variants, route.digests, strict=True)
    return all(pair in map(_name, block) for block, pair in zip(app.blocks, pairs, strict=False))


def _picks(app: AppOptions, route: Route) -> list[int]:
    """Which option of each block a route that the app offers runs, up to its depth."""
    pairs = zip(route.variants, route.digests, strict=True)
    return [[_name(option) for option in block].index(pair) for block, pair in zip(app.blocks, pairs, strict=False)]


def _name(option: Option) -> tuple[str, str]:
    return option.variant, option.digest


def _policies_of(app: AppOptions, route: Route) -> tuple[PolicyOption, ...]:
    return tuple(policy for policy in app.policies if policy.policy == route.policy)


def _keeping(app: AppOptions, kept: Sequence[Sequence[int]], policies: tuple[PolicyOption, ...]) -> AppOptions:
    """The app with only these options of each block, by position, and these policies."""
    return replace(
        app,
        blocks=tuple(tuple(block[i] for i in keep) for block, keep in zip(app.blocks, kept, strict=True)),
        policies=policies,
        accuracy=app.accuracy and app.accuracy.keeping(kept),
        pins=(),
        pinned_exits=(),
    )


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A problem in which one limit is looser."""

    problem: Problem
    before: float
    """The limit as it is: bytes, W, ms, or a share."""
    after: float


def relaxed(problem: Problem, limit: str, share: float) -> Relaxation:
    """The problem with `share` more of a limit, named as in `Plan.binding`; of a floor, with that much less."""
    kind, _, app_id = limit.partition(":")
    limits = problem.limits
    if kind == "memory":
        more_bytes = int(limits.memory_bytes * (1.0 + share))
        return Relaxation(
            replace(problem, limits=replace(limits, memory_bytes=more_bytes)), limits.memory_bytes, more_bytes
        )
    if kind == "utilisation":
        cap = limits.utilisation_cap * (1.0 + share)
        return Relaxation(replace(problem, limits=replace(limits, utilisation_cap=cap)), limits.utilisation_cap, cap)
    if kind == "power" and limits.power_cap_w is not None:
        cap_w = limits.power_cap_w * (1.0 + share)
        return Relaxation(replace(problem, limits=replace(limits, power_cap_w=cap_w)), limits.power_cap_w, cap_w)
    position = position_of(problem, app_id)
    app = problem.apps[position]
    if kind == "floor":
        floor = app.app.accuracy_floor * (1.0 - share)
        lower = replace(app, app=replace(app.app, accuracy_floor=floor))
        return Relaxation(with_app(problem, position, lower), app.app.accuracy_floor, floor)
    budget_ms = app.app.budget_ms * (1.0 + share)
    return Relaxation(with_budget(problem, app_id, budget_ms), app.app.budget_ms, budget_ms)
