"""Small problems for the tests of the optimizer, and the exhaustive search that it must equal."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from schedulerd.control.problem import AppOptions, Limits, Option, Problem
from schedulerd.plan import App

ROOMY = Limits(memory_bytes=10**12, utilisation_cap=1e6, lanes=1, overhead_ms=0.3)
"""Limits that bind nothing."""


def option(
    variant: str,
    latency_ms: float,
    drop: float,
    *,
    p95_ms: float | None = None,
    memory_bytes: int = 10**6,
    digest: str | None = None,
) -> Option:
    """One variant; its blob is its own unless `digest` says otherwise."""
    return Option(
        variant=variant,
        digest=digest or f"blob-{variant}",
        latency_ms=latency_ms,
        latency_p95_ms=latency_ms if p95_ms is None else p95_ms,
        memory_bytes=memory_bytes,
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
) -> AppOptions:
    """An app that asks for nothing special."""
    return AppOptions(App(app_id, f"model-{app_id}", budget_ms, rate_hz, priority, floor), full_accuracy, blocks)


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
    return Problem(apps_made, limits, slowdown=rng.choice([1.0, 1.0, 1.3]))


def every_choice(problem: Problem) -> Iterator[tuple[tuple[Option, ...], ...]]:
    """One tuple of options per app, for every combination there is."""
    return itertools.product(*(itertools.product(*app.blocks) for app in problem.apps))


def wait_ms(problem: Problem, chosen: tuple[tuple[Option, ...], ...], position: int) -> float:
    """How long one app's requests wait for others, from the definition: requests are counted one by one.

    Every app's requests begin at 0. One that is due with the budget is looked at, and one that is due with the next
    request of each app. Left out are the rarest apps, as long as fewer than 5% of the requests have to do with them.
    """
    apps = [a.app for a in problem.apps]
    own_ms = apps[position].budget_ms
    shares = {p: a.rate_hz / 1000 * max(own_ms, a.budget_ms) for p, a in enumerate(apps) if p != position}
    left = sorted(shares, key=shares.__getitem__)
    rare = 0.0
    while left and rare + shares[left[0]] < 0.05:
        rare += shares[left.pop(0)]

    def due_after(p: int, limit_ms: float) -> tuple[int, float]:
        """How many requests are due by then, and when the next one is."""
        count, due_ms = 0, apps[p].budget_ms
        while due_ms <= limit_ms + 1e-9:
            count, due_ms = count + 1, due_ms + 1000 / apps[p].rate_hz
        return count, due_ms

    waits_ms = []
    for due_ms in (own_ms, *(due_after(p, own_ms)[1] for p in (position, *left))):
        times_ms = {p: [problem.slowdown * o.latency_ms for o in chosen[p]] for p in (position, *left)}
        counts = {p: due_after(p, due_ms)[0] for p in times_ms}
        counts[position] -= 1
        first_ms = sum(count * sum(times_ms[p]) for p, count in counts.items())
        block_ms = max((max(times_ms[p]) for p in left if counts[p] == 0), default=0.0)
        waits_ms.append(first_ms / problem.limits.lanes + block_ms - (due_ms - own_ms))
    return max(waits_ms)


def figures(problem: Problem, chosen: tuple[tuple[Option, ...], ...]) -> tuple[tuple[float, ...], float, float]:
    """Excesses in order of rank, weighted loss, and total time of one choice, straight from their definitions."""
    limits, slow = problem.limits, problem.slowdown
    memory = sum({o.digest: o.memory_bytes for route in chosen for o in route}.values())
    busy = sum(a.app.rate_hz * slow * o.latency_ms for a, r in zip(problem.apps, chosen, strict=True) for o in r) / 1e3
    floors, misses = 0.0, dict.fromkeys(range(10, 0, -1), 0.0)
    for position, (app, route) in enumerate(zip(problem.apps, chosen, strict=True)):
        best = app.full_accuracy - max(0.0, sum(min(o.accuracy_drop for o in block) for block in app.blocks))
        floor = min(app.app.accuracy_floor, best)
        floors += max(0.0, floor - 1e-9 - (app.full_accuracy - sum(o.accuracy_drop for o in route)))
        own_p95 = slow * sum(o.latency_p95_ms for o in route)
        p95 = own_p95 + wait_ms(problem, chosen, position) + limits.overhead_ms
        misses[app.app.priority] += max(0.0, p95 / app.app.budget_ms - 1.0)
    excesses = (
        floors,
        max(0.0, memory / limits.memory_bytes - 1.0),
        max(0.0, busy / limits.lanes / limits.utilisation_cap - 1.0),
        *misses.values(),
    )
    loss = sum(
        a.app.priority / a.full_accuracy * o.accuracy_drop for a, r in zip(problem.apps, chosen, strict=True) for o in r
    )
    return excesses, loss, sum(o.latency_ms for r in chosen for o in r)


def exhaustive(problem: Problem, tolerance: float = 1e-7) -> tuple[tuple[float, ...], float]:
    """Least excesses rank by rank, and the least loss among the choices that reach them."""
    left = [figures(problem, chosen) for chosen in every_choice(problem)]
    reached: list[float] = []
    for rank in range(len(left[0][0])):
        reached.append(min(f[0][rank] for f in left))
        left = [f for f in left if f[0][rank] <= reached[-1] + tolerance]
    return tuple(reached), min(f[1] for f in left)
