"""The exhaustive search that the optimizer must equal: every combination there is, judged straight from definitions.

Nothing of the optimizer's formulas is used, only the contract in `problem`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import NormalDist

from schedulerd.optimizer.objectives import MAX_FAIRNESS, MIN_ENERGY, MIN_LATENCY
from schedulerd.optimizer.problem import AppOptions, Head, Option, PolicyOption, Problem
from schedulerd.plan import Plan, Route


@dataclass(frozen=True)
class Way:
    """What one app could run: the options of the blocks that are reached, and a policy where its model has exits."""

    options: tuple[Option, ...]
    policy: PolicyOption | None
    app: AppOptions

    @cached_property
    def times_ms(self) -> list[float]:
        """Of each block with the head behind it."""
        return [o.latency_ms + (self.policy.heads_ms[b] if self.policy else 0.0) for b, o in enumerate(self.options)]

    @cached_property
    def tail_ms(self) -> float:
        """The percentile that the budget is about: blocks and heads one by one."""
        heads = zip(self.policy.heads_ms, self.policy.heads_p95_ms, strict=True) if self.policy else ()
        pairs = [*((o.latency_ms, o.latency_p95_ms) for o in self.options), *heads]
        return sum(_at(self.app.app.percentile, *pair) for pair in pairs)

    @cached_property
    def expected_ms(self) -> float:
        """Mean over where frames leave: time so far, weighted with the share that leaves there."""
        return self._mean(self.times_ms)

    @cached_property
    def energy_mj(self) -> float:
        """Mean over where frames leave; 2 W where nothing was measured."""
        energies = [2.0 * o.latency_ms if o.energy_mj is None else o.energy_mj for o in self.options]
        if self.policy:
            heads = self.policy.heads_mj or [2.0 * head_ms for head_ms in self.policy.heads_ms]
            energies = [energy + head for energy, head in zip(energies, heads, strict=False)]
        return self._mean(energies)

    def _mean(self, values: list[float]) -> float:
        if self.policy is None:
            return sum(values)
        reach = [*self.policy.reach[: len(self.options)], 0.0]
        sums = itertools.accumulate(values)
        return sum((reach[b] - reach[b + 1]) * so_far for b, so_far in enumerate(sums))

    @cached_property
    def drop(self) -> float:
        """Of accuracy: drops that add up, or what the accuracy model makes of the damages."""
        by_policy = self.policy.accuracy_drop if self.policy else 0.0
        model = self.app.accuracy
        if model is None:
            return sum(o.accuracy_drop for o in self.options) + by_policy
        places = [self.app.blocks[b].index(option) for b, option in enumerate(self.options)]
        damages = [model.damages[b][place] for b, place in enumerate(places)]
        return model.original - model.left_by([*damages, *[0.0] * (len(self.app.blocks) - len(places))]) + by_policy

    @cached_property
    def share(self) -> float:
        """What is lost, as a share of the full accuracy."""
        return self.drop / self.app.full_accuracy

    def swap(self, problem: Problem) -> float:
        """What leaving the running route costs."""
        running = self.app.running
        if running is None:
            return 0.0
        changed = 0.0 if (self.policy is None or self.policy.policy == running.policy) else 0.25
        for b, o in enumerate(self.options):
            if b >= len(running.digests) or running.digests[b] != o.digest:
                changed += 0.5 if o.digest in problem.resident else 1.0
        return self.app.app.priority * problem.swap_cost * changed / len(self.app.blocks)

    @cached_property
    def blobs(self) -> dict[str, Option | Head]:
        """What is loaded, by digest."""
        loaded = (*self.options, *(self.policy.heads if self.policy else ()))
        return {blob.digest: blob for blob in loaded}


def _at(percentile: float, median_ms: float, p95_ms: float) -> float:
    """Of a log-normal time."""
    if median_ms <= 0:
        return p95_ms
    spread = math.log(p95_ms / median_ms) / NormalDist().inv_cdf(0.95)
    return math.exp(math.log(median_ms) + NormalDist().inv_cdf(percentile / 100) * spread)


Chosen = tuple[Way, ...]
"""What each app runs."""


def every_way(app: AppOptions) -> list[Way]:
    """All policies with all combinations of options of the blocks that each reaches, as far as pins leave them."""
    held = tuple(policy for policy in app.policies if policy.policy.steps == app.pinned_exits)
    policies: tuple[PolicyOption | None, ...] = held or app.policies or (None,)
    pins = app.pins or ("",) * len(app.blocks)
    blocks = [
        [o for o in block if o.variant == pin] or list(block) for block, pin in zip(app.blocks, pins, strict=True)
    ]
    return [
        Way(options, policy, app)
        for policy in policies
        for options in itertools.product(*blocks[: policy.depth if policy else None])
    ]


def every_choice(problem: Problem) -> Iterator[Chosen]:
    """One way per app, for every combination there is."""
    return itertools.product(*map(every_way, problem.apps))


def way_of(app: AppOptions, route: Route) -> Way:
    """A plan's route in the terms of this search."""
    policy = next((option for option in app.policies if option.policy == route.policy), None)
    names = list(zip(route.variants, route.digests, strict=True))
    return next(
        way for way in every_way(app) if way.policy is policy and [(o.variant, o.digest) for o in way.options] == names
    )


@cache
def _wait_terms(
    apps: tuple[tuple[float, float], ...], percentile: float, position: int
) -> tuple[tuple[float, tuple[tuple[int, int], ...], tuple[int, ...]], ...]:
    """How long the lane has been busy, requests ahead by app, and who is in the way; apps by budget and rate.

    Every app's requests begin at 0 and are counted one by one. One that is due with the budget is looked at, and one
    that is due with the next request of each app. Left out are the rarest apps, as long as fewer requests than are
    beyond the percentile have to do with them.
    """
    own_ms = apps[position][0]
    shares = {p: rate / 1000 * max(own_ms, budget) for p, (budget, rate) in enumerate(apps) if p != position}
    left = sorted(shares, key=shares.__getitem__)
    rare = 0.0
    while left and rare + shares[left[0]] < 1.0 - percentile / 100.0:
        rare += shares[left.pop(0)]

    def due_after(p: int, limit_ms: float) -> tuple[int, float]:
        """How many requests are due by then, and when the next one is."""
        count, due_ms = 0, apps[p][0]
        while due_ms <= limit_ms + 1e-9:
            count, due_ms = count + 1, due_ms + 1000 / apps[p][1]
        return count, due_ms

    terms = []
    for due_ms in (own_ms, *(due_after(p, own_ms)[1] for p in (position, *left))):
        counts = {p: due_after(p, due_ms)[0] for p in (position, *left)}
        counts[position] -= 1
        blockers = tuple(p for p in left if counts[p] == 0)
        terms.append((due_ms - own_ms, tuple(counts.items()), blockers))
    return tuple(terms)


def wait_ms(problem: Problem, chosen: Chosen, position: int) -> float:
    """How long one app's requests wait for others, from the definition."""
    apps = tuple((a.app.budget_ms, a.app.rate_hz) for a in problem.apps)
    waits_ms = []
    for elapsed_ms, counts, blockers in _wait_terms(apps, problem.apps[position].app.percentile, position):
        first_ms = sum(count * sum(chosen[p].times_ms) for p, count in counts)
        block_ms = max((max(chosen[p].times_ms) for p in blockers), default=0.0)
        waits_ms.append(first_ms / problem.limits.lanes + block_ms - elapsed_ms)
    return max(waits_ms)


def excesses(problem: Problem, chosen: Chosen) -> tuple[float, ...]:
    """By what shares limits are exceeded, in order of rank: floors, memory, utilisation, power, budgets."""
    limits = problem.limits
    pairs = list(zip(problem.apps, chosen, strict=True))
    blobs = {digest: blob for way in chosen for digest, blob in way.blobs.items()}.values()
    arena = max(blob.arena_bytes for blob in blobs) * limits.lanes
    memory = sum(blob.memory_bytes for blob in blobs) + arena
    busy = sum(a.app.rate_hz * way.expected_ms for a, way in pairs) / 1e3
    drawn_w = sum(a.app.rate_hz * way.energy_mj for a, way in pairs) / 1e3
    floors, misses = 0.0, dict.fromkeys(range(10, 0, -1), 0.0)
    for position, (app, way) in enumerate(pairs):
        best = app.full_accuracy - max(0.0, _least_drop(app))
        floors += max(0.0, min(app.app.accuracy_floor, best) - 1e-6 - (app.full_accuracy - way.drop))
        tail_ms = way.tail_ms + wait_ms(problem, chosen, position) + limits.overhead_ms
        misses[app.app.priority] += max(0.0, tail_ms / app.app.budget_ms - 1.0)
    return (
        floors,
        max(0.0, memory - limits.memory_bytes) / max(limits.memory_bytes, 10**6),
        max(0.0, busy / limits.lanes / limits.utilisation_cap - 1.0),
        max(0.0, drawn_w / limits.power_cap_w - 1.0) if limits.power_cap_w else 0.0,
        *misses.values(),
    )


@cache
def _least_drop(app: AppOptions) -> float:
    return min(way.drop for way in every_way(app))


def loss(problem: Problem, chosen: Chosen) -> float:
    """Weighted loss of accuracy."""
    return sum(a.app.priority * way.share for a, way in zip(problem.apps, chosen, strict=True))


def value(problem: Problem, chosen: Chosen) -> float:
    """What `Problem.objective` minimises, with what swaps cost; without the tie-break."""
    pairs = list(zip(problem.apps, chosen, strict=True))
    swaps = sum(way.swap(problem) for way in chosen)
    if problem.objective == MIN_LATENCY:
        return swaps + sum(a.app.priority * way.expected_ms / a.app.budget_ms for a, way in pairs)
    if problem.objective == MIN_ENERGY:
        drawn = sum(a.app.rate_hz * way.energy_mj for a, way in pairs)
        full = sum(a.app.rate_hz * _original(a).energy_mj for a in problem.apps)
        return swaps + sum(a.app.priority for a in problem.apps) * drawn / full
    return swaps + loss(problem, chosen)


def _original(app: AppOptions) -> Way:
    """The least damaging option of every block, the faster one of equals, under the first policy that pins leave."""
    first, *others = every_way(app)
    ways = [first, *(way for way in others if way.policy is first.policy)]
    damages = app.accuracy.damages if app.accuracy else tuple(tuple(o.accuracy_drop for o in b) for b in app.blocks)

    def order(way: Way) -> list[tuple[float, float]]:
        return [(damages[b][app.blocks[b].index(o)], o.latency_ms) for b, o in enumerate(way.options)]

    return min(ways, key=order)


def worst(problem: Problem, chosen: Chosen) -> float:
    """Under `max-fairness` the largest share that an app loses."""
    return max(0.0, *(way.share for way in chosen)) if problem.objective == MAX_FAIRNESS else 0.0


def figures(problem: Problem, chosen: Chosen) -> tuple[tuple[float, ...], float, float]:
    """Excesses in order of rank, the worst share, and the value of one choice."""
    return excesses(problem, chosen), worst(problem, chosen), value(problem, chosen)


def reached(problem: Problem, plan: Plan) -> tuple[tuple[float, ...], float, float]:
    """`figures` of a plan."""
    return figures(problem, tuple(way_of(a, p.route) for a, p in zip(problem.apps, plan.apps, strict=True)))


def exhaustive(problem: Problem, tolerance: float = 1e-6) -> tuple[tuple[float, ...], float, float]:
    """Least excesses rank by rank, the least worst share of the choices that reach them, and their least value."""
    left = [figures(problem, chosen) for chosen in every_choice(problem)]
    least: list[float] = []
    for rank in range(len(left[0][0])):
        least.append(min(f[0][rank] for f in left))
        left = [f for f in left if f[0][rank] <= least[-1] + tolerance]
    least_worst = min(f[1] for f in left)
    return tuple(least), least_worst, min(f[2] for f in left if f[1] <= least_worst + tolerance)
