"""Small problems for the tests of the optimizer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blockstore.accuracy_model import KINDS, LINEAR, LOGISTIC, WEIBULL, AccuracyModel
from blockstore.exits import FINAL, NO_EXITS, ExitPolicy
from schedulerd.optimizer.objectives import MAX_ACCURACY
from schedulerd.optimizer.problem import AppOptions, Head, Limits, Option, PolicyOption, Problem
from schedulerd.plan import App, Route

ROOMY = Limits(memory_bytes=10**12, utilisation_cap=1e6, lanes=1, overhead_ms=0.3)
"""Limits that bind nothing."""


def option(
    variant: str,
    latency_ms: float,
    drop: float,
    *,
    p95_ms: float | None = None,
    memory_bytes: int = 10**6,
    arena_bytes: int = 0,
    digest: str | None = None,
) -> Option:
    """One variant; its blob is its own unless `digest` says otherwise."""
    return Option(
        variant=variant,
        digest=digest or f"blob-{variant}",
        latency_ms=latency_ms,
        latency_p95_ms=latency_ms if p95_ms is None else p95_ms,
        memory_bytes=memory_bytes,
        arena_bytes=arena_bytes,
        accuracy_drop=drop,
    )


def app_options(
    app_id: str,
    blocks: tuple[tuple[Option, ...], ...],
    *,
    budget_ms: float = 1000.0,
    rate_hz: float = 10.0,
    priority: int = 5,
    floor: float = 0.0,
    full_accuracy: float = 0.9,
    policies: tuple[PolicyOption, ...] = (),
) -> AppOptions:
    """An app that asks for nothing special."""
    app = App(app_id, f"model-{app_id}", budget_ms, rate_hz, priority, floor)
    return AppOptions(app, full_accuracy, blocks, policies)


def policy_option(
    blocks: int,
    leaving: dict[int, float],
    drop: float = 0.0,
    *,
    cap: int | None = None,
    head_ms: float = 0.0,
    head_bytes: int = 0,
    owner: str = "",
) -> PolicyOption:
    """A policy for a model with a head behind every block but the last, each with these costs (p95 twice the median).

    `leaving` gives the share of all frames that leaves behind a block. All that come so far leave behind `cap`.
    """
    depth = blocks if cap is None else cap + 1
    steps = [(f"exit{b}", 0.5) for b in sorted(leaving)] + [(FINAL if cap is None else f"exit{cap}", 0.0)]
    reach = tuple(1.0 - sum(s for b, s in leaving.items() if b < n) if n < depth else 0.0 for n in range(blocks))
    enabled = [b in leaving or b == cap for b in range(blocks)]
    named = "+".join(f"{b}:{share:.3f}" for b, share in sorted(leaving.items()))
    return PolicyOption(
        policy=ExitPolicy(f"{named} to {cap}", tuple(steps)) if steps != [(FINAL, 0.0)] else NO_EXITS,
        shares=(*(leaving[b] for b in sorted(leaving)), 1.0 - sum(leaving.values())),
        reach=reach,
        heads_ms=tuple(head_ms * on for on in enabled),
        heads_p95_ms=tuple(2.0 * head_ms * on for on in enabled),
        heads=tuple(Head(f"{owner}head{b}", head_bytes, 0) for b in range(min(depth, blocks - 1))),
        accuracy_drop=drop,
    )


def with_policies(problem: Problem, seed: int, count: int) -> Problem:
    """`problem` with `count` exit policies for each app, the first of which has every frame run to the end.

    A third of them caps the depth. What they lose goes with what they save, roughly; some heads are two apps' own.
    """
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    return replace(problem, apps=tuple(replace(app, policies=_policies(rng, app, count)) for app in problem.apps))


def _policies(rng: random.Random, app: AppOptions, count: int) -> tuple[PolicyOption, ...]:
    blocks = len(app.blocks)
    heads = {"head_ms": rng.uniform(0.05, 0.5), "head_bytes": 100_000, "owner": rng.choice(["", app.app.app_id])}
    made = {NO_EXITS.name: policy_option(blocks, {}, **heads)}
    while len(made) < count:
        cap = rng.choice([None, None, rng.randrange(blocks - 1)])
        places = [b for b in range(blocks - 1 if cap is None else cap) if rng.random() < 0.6]
        if not places and cap is None:
            continue
        left, leaving = 1.0, {}
        for place in places:
            leaving[place] = left * rng.uniform(0.05, 0.7)
            left -= leaving[place]
        saved = sum(leaving.values()) / 2 if cap is None else 1 - (cap + 1) / blocks
        option = policy_option(blocks, leaving, max(-0.002, rng.gauss(0.03 * saved, 0.01)), cap=cap, **heads)
        made[option.policy.name] = option
    return tuple(made.values())


def with_arenas(problem: Problem, seed: int) -> Problem:
    """`problem` with activations, and with more room: 0.2 to 1 of what the largest need.

    As in real networks the first blocks need most, several times the size of their blobs. Equal blobs need as much
    wherever they run.
    """
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    arenas: dict[str, int] = {}

    def option_with(o: Option, block: int) -> Option:
        need_bytes = int(o.memory_bytes * rng.uniform(0.5, 6.0) / (1 + block))
        return replace(o, arena_bytes=arenas.setdefault(o.digest, need_bytes))

    def policy_with(p: PolicyOption) -> PolicyOption:
        arena_bytes = [arenas.setdefault(head.digest, rng.randrange(12_000_000)) for head in p.heads]
        return replace(p, heads=tuple(replace(h, arena_bytes=a) for h, a in zip(p.heads, arena_bytes, strict=True)))

    apps = tuple(
        replace(
            app,
            blocks=tuple(tuple(option_with(o, b) for o in block) for b, block in enumerate(app.blocks)),
            policies=tuple(map(policy_with, app.policies)),
        )
        for app in problem.apps
    )
    room = rng.uniform(0.2, 1.0) * problem.limits.lanes * max(arenas.values())
    return Problem(apps, replace(problem.limits, memory_bytes=problem.limits.memory_bytes + int(room)))


def graded(app_id: str, *, blocks: int = 3, variants: int = 3) -> tuple[tuple[Option, ...], ...]:
    """Blocks whose variants trade accuracy for time and memory in even steps: 4, 3, 2 ms at 0, 1, 2 points."""
    return tuple(
        tuple(
            option(f"{app_id}{b}v{v}", 4.0 - v, 0.01 * v, p95_ms=4.4 - v, memory_bytes=(4 - v) * 10**6)
            for v in range(variants)
        )
        for b in range(blocks)
    )


def random_problem(seed: int, *, apps: int = 2, blocks: int = 3, variants: int = 3, tightness: float = 0.5) -> Problem:
    """Correlated options (faster is smaller and less accurate, roughly), some blobs shared, limits of any tightness.

    At `tightness` 0 most limits are met by the original routes, at 1 hardly any is met by the smallest.
    """
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    shared = [(f"shared-{i}", rng.randrange(1, 9) * 250_000) for i in range(2)]
    made = []
    for a in range(apps):
        chain = []
        for b in range(blocks):
            full_ms = rng.uniform(1.0, 8.0)
            options = []
            for v in range(variants):
                scale = (1.0 - 0.8 * v / variants) * rng.uniform(0.8, 1.2)
                drop = 0.0 if v == 0 else max(-0.002, rng.gauss(0.015 * v, 0.01))
                digest, size = f"a{a}b{b}v{v}", int(full_ms * scale * 300_000)
                if rng.random() < 0.25:
                    digest, size = rng.choice(shared)
                options.append(
                    option(
                        f"v{v}",
                        full_ms * scale,
                        drop,
                        p95_ms=full_ms * scale * rng.uniform(1.0, 1.4),
                        memory_bytes=size,
                        digest=digest,
                    )
                )
            chain.append(tuple(options))
        made.append((f"app{a}", tuple(chain)))
    slack = 1.6 - 1.3 * tightness
    routes_ms = [sum(block[0].latency_p95_ms for block in chain) for _, chain in made]
    apps_made = tuple(
        app_options(
            name,
            chain,
            budget_ms=slack * rng.uniform(0.6, 2.2) * (sum(routes_ms) + 4.0),
            rate_hz=rng.uniform(0.5, 60.0),
            priority=rng.randint(1, 10),
            floor=rng.choice([0.0, 0.8, 0.86]),
        )
        for name, chain in made
    )
    busy = sum(a.app.rate_hz * sum(b[0].latency_ms for b in a.blocks) for a in apps_made) / 1000
    lanes = rng.choice([1, 1, 2])
    size = sum({b[0].digest: b[0].memory_bytes for a in apps_made for b in a.blocks}.values())
    limits = Limits(
        memory_bytes=int(slack * rng.uniform(0.7, 1.3) * size),
        utilisation_cap=slack * rng.uniform(0.7, 1.3) * busy / lanes,
        lanes=lanes,
        overhead_ms=0.3,
    )
    return Problem(apps_made, limits)


def accuracy_model(
    rng: random.Random, blocks: int, variants: int, *, kind: str = WEIBULL, cosines: tuple[float, float] | None = None
) -> AccuracyModel:
    """A fall from 0.9 to 0.1 over damages that grow with the variant; cosines between these limits."""
    rows = tuple(
        tuple(
            0.0 if v == 0 else v * rng.uniform(0.01, 0.06) * (0.3 if kind == LINEAR else 1.0) for v in range(variants)
        )
        for _ in range(blocks)
    )
    if kind == LOGISTIC:
        rows = tuple(tuple(8.0 * damage for damage in row) for row in rows)
    triangle = tuple(tuple(rng.uniform(*cosines) for _ in range(b)) for b in range(blocks)) if cosines else ()
    shape = {LINEAR: 0.0, WEIBULL: rng.uniform(0.7, 2.0), LOGISTIC: rng.uniform(0.5, 2.0)}[kind]
    return AccuracyModel(kind, 0.9, 0.1, shape, rows, triangle, None, ())


def dressed(problem: Problem, seed: int, *, objective: str = MAX_ACCURACY) -> Problem:
    """`problem` with all that there may be besides, each thing for some.

    Percentiles, accuracy models, energies, a cap on power, pins, running routes, resident blobs, a cost of swaps.
    """
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    apps = tuple(_dressed(rng, app) for app in problem.apps)
    drawn_w = sum(a.app.rate_hz * sum(o.energy_mj or 2.0 * o.latency_ms for o, *_ in a.blocks) for a in apps) / 1e3
    digests = sorted({o.digest for app in apps for block in app.blocks for o in block})
    return Problem(
        apps,
        replace(problem.limits, power_cap_w=rng.choice([None, drawn_w * rng.uniform(0.5, 1.1)])),
        objective,
        frozenset(digest for digest in digests if rng.random() < 0.3),
        rng.choice([0.0, 0.005, 0.05]),
    )


def _dressed(rng: random.Random, app: AppOptions) -> AppOptions:
    def with_energy(o: Option) -> Option:
        return replace(o, energy_mj=rng.choice([None, o.latency_ms * rng.uniform(1.0, 5.0)]))

    counts = [len(block) for block in app.blocks]
    accuracy = None
    if rng.random() < 0.5:
        cosines = rng.choice([None, (0.0, 0.6)])
        accuracy = accuracy_model(rng, len(counts), max(counts), kind=rng.choice(KINDS), cosines=cosines)
    blocks = tuple(tuple(map(with_energy, block)) for block in app.blocks)
    running = route_of(app, [rng.randrange(count) for count in counts], rng.choice(app.policies or (None,)))
    pins = [rng.choice(["", "", "", rng.choice(block).variant]) for block in blocks]
    exits = [policy.policy.steps for policy in app.policies]
    return replace(
        app,
        app=replace(app.app, percentile=rng.choice([50.0, 90.0, 95.0, 99.0])),
        blocks=blocks,
        accuracy=accuracy,
        running=rng.choice([None, running]),
        pins=tuple(pins) if any(pins) else (),
        pinned_exits=rng.choice([(), (), (), *exits]),
    )


def route_of(app: AppOptions, picks: Sequence[int], policy: PolicyOption | None = None) -> Route:
    """The route through these options of the blocks."""
    options = [block[pick] for block, pick in zip(app.blocks, picks, strict=True)][: policy.depth if policy else None]
    return Route(
        app.app.model,
        tuple(o.variant for o in options),
        tuple(o.digest for o in options),
        policy.policy if policy else NO_EXITS,
        tuple(head.digest for head in policy.heads) if policy else (),
    )


def two_apps(**limits: Any) -> Problem:
    """`cam` (priority 8) and `door` (priority 3): each 12.0 to 6.0 ms median in steps of 1, p95 1.2 ms above."""
    cam = app_options("cam", graded("cam"), priority=8)
    door = app_options("door", graded("door"), priority=3)
    return Problem((cam, door), replace(ROOMY, **limits))


def with_budgets(problem: Problem, **budgets_ms: float) -> Problem:
    """The same problem with other budgets."""
    apps = [
        replace(a, app=replace(a.app, budget_ms=budgets_ms.get(a.app.app_id, a.app.budget_ms))) for a in problem.apps
    ]
    return replace(problem, apps=tuple(apps))
