"""Random decisions, hard on purpose: correlated costs, shared models, limits near what a middling choice needs.

Independent random costs make easy programs: most variants are dominated. Here a variant that is quicker is smaller and
less accurate too, as pruning makes them, so nearly all of them stay in the running. Apps share models, as cameras do,
so that memory couples them. Budgets and memory are what a random choice of middling variants would need, give or take a
quarter. The originals never keep all limits; some choice does, and `overloaded` takes that away as well.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from schedulerd.optimizer.predict import choice_of
from schedulerd.optimizer.problem import AppOptions, Limits, Option, Problem
from schedulerd.plan import App, Route

SHAPES: Final = ((1, 8, 8), (4, 8, 8), (10, 8, 10), (20, 8, 10), (50, 8, 10))
"""Apps, blocks and variants of the published figures."""
_UNLIMITED_BYTES = 10**12
_CAP = 0.8
_SETTLING_ROUNDS = 4
"""Budgets and waits depend on each other; after these rounds they move little."""


@dataclass(frozen=True, slots=True)
class _Model:
    """One network, which several apps may run."""

    name: str
    accuracy: float
    blocks: tuple[tuple[Option, ...], ...]


def instance(seed: int, apps: int, blocks: int, variants: int) -> Problem:
    """The problem that `seed` stands for; equal arguments give equal problems."""
    rng = random.Random(seed * 1000 + apps)  # noqa: S311 - draws test data, not secrets
    models = [_model(rng, f"m{number}", blocks, variants) for number in range(max(1, round(apps * 0.8)))]
    drawn = [_app(rng, f"app{number:03d}", models[number % len(models)]) for number in range(apps)]
    load, lanes = rng.uniform(0.9, 1.8), rng.choice([1, 1, 2])
    drawn = _with_rates(rng, drawn, load * _CAP * lanes)
    tightness = [rng.uniform(0.8, 1.25) for _ in drawn]
    periods = [rng.uniform(0.3, 2.0) for _ in drawn]
    degree = rng.uniform(0.2, 0.7)
    routes = {app.app.app_id: _middling(rng, app, degree) for app in drawn}
    problem = Problem(tuple(map(_first_budget, drawn, periods)), Limits(_UNLIMITED_BYTES, _CAP, lanes))
    for number in range(_SETTLING_ROUNDS):
        problem = _with_budgets(problem, routes, tightness, growing=number < _SETTLING_ROUNDS - 1)
    memory_bytes = int(choice_of(problem, routes).memory_bytes * rng.uniform(0.8, 1.25))
    return replace(problem, limits=replace(problem.limits, memory_bytes=memory_bytes))


def with_budget(problem: Problem, position: int, factor: float) -> Problem:
    """The same problem with the budget of one app multiplied by `factor`."""
    apps = list(problem.apps)
    changed = apps[position].app
    apps[position] = replace(apps[position], app=replace(changed, budget_ms=changed.budget_ms * factor))
    return replace(problem, apps=tuple(apps))


def overloaded(problem: Problem) -> Problem:
    """The same problem with half of each budget and of the memory: what has to give is to be decided too."""
    halved = problem
    for position in range(len(problem.apps)):
        halved = with_budget(halved, position, 0.5)
    return replace(halved, limits=replace(problem.limits, memory_bytes=problem.limits.memory_bytes // 2))


def _model(rng: random.Random, name: str, blocks: int, variants: int) -> _Model:
    chain = tuple(_block(rng, f"{name}b{b}", 1 + b, variants) for b in range(blocks))
    return _Model(name, rng.uniform(0.6, 0.95), chain)


def _block(rng: random.Random, name: str, depth: int, variants: int) -> tuple[Option, ...]:
    """From the original to one with a fifth of its costs; each step costs more accuracy than the one before."""
    worst_drop = rng.uniform(0.01, 0.09)
    full_ms = rng.uniform(1.0, 8.0)
    full_bytes = full_ms * rng.uniform(1e5, 6e5)
    # As in real networks: the first blocks have the large activations.
    full_arena_bytes = rng.uniform(1.0, 4.0) * 1e6 / depth
    options = []
    for variant in range(variants):
        scale = (1.0 - 0.8 * variant / variants) * rng.uniform(0.8, 1.2) if variant else 1.0
        drop = worst_drop * (variant / variants) ** 1.6 * rng.uniform(0.6, 1.4) if variant else 0.0
        options.append(
            Option(
                variant=f"v{variant}",
                digest=f"{name}v{variant}",
                latency_ms=full_ms * scale,
                latency_p95_ms=full_ms * scale * rng.uniform(1.0, 1.3),
                memory_bytes=int(full_bytes * scale * rng.uniform(0.8, 1.2)),
                arena_bytes=int(full_arena_bytes * scale),
                accuracy_drop=drop,
            )
        )
    return tuple(options)


def _app(rng: random.Random, app_id: str, model: _Model) -> AppOptions:
    """One in six has an accuracy floor; budget and rate come later."""
    priority = rng.randint(1, 10)
    floor = rng.choice([0.0, 0.0, 0.7]) * model.accuracy * rng.choice([0.0, 1.0])
    return AppOptions(App(app_id, model.name, 1.0, 1.0, priority, floor), model.accuracy, model.blocks)


def _with_rates(rng: random.Random, apps: Sequence[AppOptions], lanes: float) -> list[AppOptions]:
    """Rates at which the originals would keep so many lanes busy, in unequal shares."""
    shares = [rng.uniform(0.5, 2.0) for _ in apps]
    rates_hz = (
        1e3 * lanes * share / sum(shares) / sum(block[0].latency_ms for block in app.blocks)
        for app, share in zip(apps, shares, strict=True)
    )
    return [replace(a, app=replace(a.app, rate_hz=rate_hz)) for a, rate_hz in zip(apps, rates_hz, strict=True)]


def _middling(rng: random.Random, app: AppOptions, degree: float) -> Route:
    """A route of random variants around one degree of scaling, 0 to 1."""
    options = []
    for block in app.blocks:
        share = min(1.0, max(0.0, rng.gauss(degree, 0.2)))
        options.append(block[min(len(block) - 1, int(len(block) * share))])
    return Route(app.app.model, tuple(o.variant for o in options), tuple(o.digest for o in options))


def _first_budget(app: AppOptions, periods: float) -> AppOptions:
    """A budget in proportion to the time between two frames, from which they settle."""
    return replace(app, app=replace(app.app, budget_ms=40.0 + periods * 500.0 / app.app.rate_hz))


def _with_budgets(problem: Problem, routes: dict[str, Route], tightness: Sequence[float], growing: bool) -> Problem:
    """Budgets of what each route needs beside the others, times its tightness; no smaller than before if `growing`."""
    choice = choice_of(problem, routes)
    apps = []
    for position, (app, factor) in enumerate(zip(problem.apps, tightness, strict=True)):
        needed_ms = choice.p95_ms(position) * factor
        budget_ms = max(app.app.budget_ms, needed_ms) if growing else needed_ms
        apps.append(replace(app, app=replace(app.app, budget_ms=budget_ms)))
    return replace(problem, apps=tuple(apps))
