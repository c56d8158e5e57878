"""Small problems for the tests of the optimizer, and the exhaustive search that it must equal."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from blockstore.exits import FINAL, NO_EXITS, ExitPolicy
from schedulerd.control.problem import AppOptions, Head, Limits, Option, PolicyOption, Problem
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


@dataclass(frozen=True)
class Way:
    """What one app could run: the options of the blocks that are reached, and a policy where its model has exits."""

    options: tuple[Option, ...]
    policy: PolicyOption | None

    @cached_property
    def times_ms(self) -> list[float]:
        """Of each block with the head behind it."""
        return [o.latency_ms + (self.policy.heads_ms[b] if self.policy else 0.0) for b, o in enumerate(self.options)]

    @cached_property
    def p95_ms(self) -> float:
        return sum(o.latency_p95_ms for o in self.options) + (sum(self.policy.heads_p95_ms) if self.policy else 0.0)

    @cached_property
    def expected_ms(self) -> float:
        """Mean over where frames leave: time so far, weighted with the share that leaves there."""
        if self.policy is None:
            return sum(self.times_ms)
        reach = [*self.policy.reach[: len(self.options)], 0.0]
        ends_ms = itertools.accumulate(self.times_ms)
        return sum((reach[b] - reach[b + 1]) * end_ms for b, end_ms in enumerate(ends_ms))

    @cached_property
    def drop(self) -> float:
        return sum(o.accuracy_drop for o in self.options) + (self.policy.accuracy_drop if self.policy else 0.0)

    @cached_property
    def blobs(self) -> dict[str, Option | Head]:
        loaded = (*self.options, *(self.policy.heads if self.policy else ()))
        return {blob.digest: blob for blob in loaded}


Chosen = tuple[Way, ...]
"""What each app runs."""


def every_way(app: AppOptions) -> list[Way]:
    """All policies with all combinations of options of the blocks that each reaches."""
    policies: tuple[PolicyOption | None, ...] = app.policies or (None,)
    return [
        Way(options, policy)
        for policy in policies
        for options in itertools.product(*app.blocks[: policy.depth if policy else None])
    ]


def every_choice(problem: Problem) -> Iterator[Chosen]:
    """One way per app, for every combination there is."""
    return itertools.product(*map(every_way, problem.apps))


def wait_ms(problem: Problem, chosen: Chosen, position: int) -> float:
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
        times_ms = {p: chosen[p].times_ms for p in (position, *left)}
        counts = {p: due_after(p, due_ms)[0] for p in times_ms}
        counts[position] -= 1
        first_ms = sum(count * sum(times_ms[p]) for p, count in counts.items())
        block_ms = max((max(times_ms[p]) for p in left if counts[p] == 0), default=0.0)
        waits_ms.append(first_ms / problem.limits.lanes + block_ms - (due_ms - own_ms))
    return max(waits_ms)


def figures(problem: Problem, chosen: Chosen) -> tuple[tuple[float, ...], float, float]:
    """Excesses in order of rank, weighted loss, and expected time of one choice, straight from their definitions."""
    limits = problem.limits
    pairs = list(zip(problem.apps, chosen, strict=True))
    blobs = {digest: blob for way in chosen for digest, blob in way.blobs.items()}.values()
    arena = sorted(blob.arena_bytes for blob in blobs)[-1] * limits.lanes
    memory = sum(blob.memory_bytes for blob in blobs) + arena
    busy = sum(a.app.rate_hz * way.expected_ms for a, way in pairs) / 1e3
    floors, misses = 0.0, dict.fromkeys(range(10, 0, -1), 0.0)
    for position, (app, way) in enumerate(pairs):
        best = app.full_accuracy - max(0.0, _least_drop(app))
        floors += max(0.0, min(app.app.accuracy_floor, best) - 1e-9 - (app.full_accuracy - way.drop))
        p95 = way.p95_ms + wait_ms(problem, chosen, position) + limits.overhead_ms
        misses[app.app.priority] += max(0.0, p95 / app.app.budget_ms - 1.0)
    excesses = (
        floors,
        max(0.0, memory / limits.memory_bytes - 1.0),
        max(0.0, busy / limits.lanes / limits.utilisation_cap - 1.0),
        *misses.values(),
    )
    loss = sum(a.app.priority / a.full_accuracy * way.drop for a, way in pairs)
    return excesses, loss, sum(way.expected_ms for way in chosen)


@cache
def _least_drop(app: AppOptions) -> float:
    return min(way.drop for way in every_way(app))


def exhaustive(problem: Problem, tolerance: float = 1e-7) -> tuple[tuple[float, ...], float]:
    """Least excesses rank by rank, and the least loss among the choices that reach them."""
    left = [figures(problem, chosen) for chosen in every_choice(problem)]
    reached: list[float] = []
    for rank in range(len(left[0][0])):
        reached.append(min(f[0][rank] for f in left))
        left = [f for f in left if f[0][rank] <= reached[-1] + tolerance]
    return tuple(reached), min(f[1] for f in left)


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
