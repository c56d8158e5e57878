"""Every number and limit of a plan, worked out again from the problem alone: no solver's word is taken for it.

Nothing of `cost`, `choice` or `predict` is used here, so that a mistake there is found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from blockstore.exits import NO_EXITS
from schedulerd.control.problem import AppOptions, Head, Option, PolicyOption, Problem
from schedulerd.plan import App, AppPlan, Plan

_CLOSE = 2e-6
"""Relative difference that is rounding."""
_SLIGHT = 1e-9
"""The same for times and counts on which the number of requests depends."""


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
        elif route.policy not in ([p.policy for p in app.policies] or [NO_EXITS]):
            yield f"{name}: the model has no exit policy {route.policy}"
        elif not len(route.variants) == len(route.digests) == len(planned.block_ms) == _depth(app, planned):
            yield f"{name}: the route has {len(route.variants)} blocks, the model {_depth(app, planned)}"
        else:
            yield from _unfit_blobs(app, planned)


def _unfit_blobs(app: AppOptions, planned: AppPlan) -> Iterator[str]:
    name, route, policy = app.app.app_id, planned.route, _policy(app, planned)
    for index, (variant, digest) in enumerate(zip(route.variants, route.digests, strict=True)):
        if not any(o.variant == variant and o.digest == digest for o in app.blocks[index]):
            yield f"{name}: block {index} has no variant {variant!r} with blob {digest[:12]}"
    wanted = tuple(head.digest for head in policy.heads) if policy else ()
    if route.heads != wanted:
        yield f"{name}: the route has {len(route.heads)} heads, {route.heads}; its policy loads {wanted}"
    if len(planned.exit_shares) != len(route.policy.steps):
        yield f"{name}: there are {len(planned.exit_shares)} exit shares for {len(route.policy.steps)} steps"


def _policy(app: AppOptions, planned: AppPlan) -> PolicyOption | None:
    """The policy of the route; None for a model without exits."""
    return next((option for option in app.policies if option.policy == planned.route.policy), None)


def _depth(app: AppOptions, planned: AppPlan) -> int:
    """How many blocks the policy lets some frame reach."""
    policy = _policy(app, planned)
    return len([share for share in policy.reach if share > 0]) if policy else len(app.blocks)


@dataclass(frozen=True, slots=True)
class _Ran:
    """What an app runs."""

    options: tuple[Option, ...]
    policy: PolicyOption | None

    @property
    def times_ms(self) -> list[float]:
        """Of each block with its head."""
        heads_ms = self.policy.heads_ms if self.policy else [0.0] * len(self.options)
        return [option.latency_ms + heads_ms[block] for block, option in enumerate(self.options)]

    @property
    def p95_ms(self) -> float:
        return sum(o.latency_p95_ms for o in self.options) + (sum(self.policy.heads_p95_ms) if self.policy else 0.0)

    @property
    def expected_ms(self) -> float:
        """The times up to each block, weighted with the share of the frames that ends there."""
        if self.policy is None:
            return sum(self.times_ms)
        ends = (before - after for before, after in pairwise((*self.policy.reach[: len(self.options)], 0.0)))
        return sum(share * time_ms for share, time_ms in zip(ends, accumulate(self.times_ms), strict=True))

    @property
    def drop(self) -> float:
        return sum(o.accuracy_drop for o in self.options) + (self.policy.accuracy_drop if self.policy else 0.0)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the frames, by step."""
        return self.policy.shares if self.policy else (1.0,)


def _chosen(app: AppOptions, planned: AppPlan) -> _Ran:
    route = planned.route
    options = tuple(
        next(o for o in app.blocks[block] if (o.variant, o.digest) == pair)
        for block, pair in enumerate(zip(route.variants, route.digests, strict=True))
    )
    return _Ran(options, _policy(app, planned))


def _p95_ms(problem: Problem, chosen: list[_Ran], position: int) -> float:
    """Own blocks, overhead, and the longest wait for others.

    The request waits for others when it arrives together with them, or just so much later that one more request, of
    another app or an earlier one of its own, is due no later than it is.
    """
    others = _regulars(problem, position)
    budget_ms = problem.apps[position].app.budget_ms
    lags_ms = {0.0, *(_lag_ms(problem.apps[p].app, budget_ms) for p in (position, *others))}
    wait_ms = max(_work_ms(problem, chosen, position, others, budget_ms + lag) - lag for lag in lags_ms)
    return chosen[position].p95_ms + wait_ms + problem.limits.overhead_ms


def _lag_ms(app: App, due_ms: float) -> float:
    """From `due_ms` to the deadline of the first request after it."""
    return _count(app, due_ms) * (1000.0 / app.rate_hz) + app.budget_ms - due_ms


def _count(app: App, due_ms: float) -> int:
    """Requests that are due by `due_ms`, the first of them having come at 0."""
    spare_periods = (due_ms - app.budget_ms) / (1000.0 / app.rate_hz) + _SLIGHT
    return 0 if spare_periods < 0 else 1 + int(spare_periods)


def _regulars(problem: Problem, position: int) -> list[int]:
    """The other apps, but for the rarest: those that together delay fewer than one request in twenty."""
    budget_ms = problem.apps[position].app.budget_ms
    shares = {
        other: max(budget_ms, a.app.budget_ms) / (1000.0 / a.app.rate_hz)
        for other, a in enumerate(problem.apps)
        if other != position
    }
    return [
        other
        for other, share in shares.items()
        if sum(rarer for rarer in shares.values() if rarer < share + _SLIGHT) > 0.05 - _SLIGHT
    ]


def _work_ms(problem: Problem, chosen: list[_Ran], position: int, others: list[int], due_ms: float) -> float:
    """What is done before a request of the app at `position` that is due at `due_ms`, the first of all coming at 0."""
    whole_ms, block_ms = 0.0, 0.0
    for p in (position, *others):
        times_ms = chosen[p].times_ms
        count = _count(problem.apps[p].app, due_ms) - (p == position)
        whole_ms += count * sum(times_ms)
        if count == 0 and p != position:
            block_ms = max(block_ms, *times_ms)
    return whole_ms / problem.limits.lanes + block_ms


def _memory_bytes(problem: Problem, chosen: Sequence[_Ran]) -> int:
    """Every blob once, and the activations of the one that needs most on every lane."""
    blobs: dict[str, Option | Head] = {o.digest: o for ran in chosen for o in ran.options}
    blobs |= {head.digest: head for ran in chosen if ran.policy for head in ran.policy.heads}
    arena_bytes = max((blob.arena_bytes for blob in blobs.values()), default=0)
    return sum(blob.memory_bytes for blob in blobs.values()) + problem.limits.lanes * arena_bytes


def _utilisation(problem: Problem, chosen: list[_Ran]) -> float:
    busy_ms = sum(app.app.rate_hz * ran.expected_ms for app, ran in zip(problem.apps, chosen, strict=True))
    return busy_ms / 1000.0 / problem.limits.lanes


def _wrong_numbers(problem: Problem, plan: Plan, chosen: list[_Ran]) -> Iterator[str]:
    for position, (app, planned) in enumerate(_pairs(problem, plan)):
        ran, name = chosen[position], app.app.app_id
        expected_ms = ran.expected_ms
        p95_ms = _p95_ms(problem, chosen, position)
        figures = [
            ("latency_ms", planned.latency_ms, sum(ran.times_ms)),
            ("latency_p95_ms", planned.latency_p95_ms, p95_ms),
            ("accuracy", planned.accuracy, min(1.0, max(0.0, app.full_accuracy - ran.drop))),
            ("memory_bytes", planned.memory_bytes, _memory_bytes(problem, [ran])),
            ("utilisation", planned.utilisation, app.app.rate_hz * expected_ms / 1000.0),
            ("expected_ms", planned.expected_ms, expected_ms),
            ("miss_ms", planned.miss_ms, max(0.0, p95_ms - app.app.budget_ms)),
        ]
        figures += [
            (f"block_ms[{index}]", block_ms, option.latency_ms)
            for index, (block_ms, option) in enumerate(zip(planned.block_ms, ran.options, strict=True))
        ]
        figures += [
            (f"exit_shares[{index}]", *shares)
            for index, shares in enumerate(zip(planned.exit_shares, ran.shares, strict=True))
        ]
        for figure, stated, found in figures:
            if not _equal(stated, found, app.app.budget_ms if figure == "miss_ms" else found):
                yield f"{name}: {figure} is {found:.9g}, the plan says {stated:.9g}"
    yield from _wrong_totals(problem, plan, chosen)


def _wrong_totals(problem: Problem, plan: Plan, chosen: list[_Ran]) -> Iterator[str]:
    figures = [
        ("memory_bytes", plan.memory_bytes, _memory_bytes(problem, chosen)),
        ("memory_limit_bytes", plan.memory_limit_bytes, problem.limits.memory_bytes),
        ("utilisation", plan.utilisation, _utilisation(problem, chosen)),
    ]
    for figure, stated, found in figures:
        if not _equal(stated, found, found):
            yield f"plan: {figure} is {found:.9g}, the plan says {stated:.9g}"


def _broken_limits(problem: Problem, plan: Plan, chosen: list[_Ran]) -> Iterator[str]:
    """Limits that are exceeded and not owned up to."""
    owned = {e.limit for e in plan.broken}
    limits = problem.limits
    uses = [
        ("memory", _memory_bytes(problem, chosen), limits.memory_bytes),
        ("utilisation", _utilisation(problem, chosen), limits.utilisation_cap),
    ]
    for position, app in enumerate(problem.apps):
        uses.append((f"budget:{app.app.app_id}", _p95_ms(problem, chosen, position), app.app.budget_ms))
    for name, use, limit in uses:
        if use > limit + _CLOSE * max(abs(limit), 1.0) and name not in owned:
            yield f"{name}: {use:.9g} is over the limit of {limit:.9g}, and the plan does not say so"
    for app, ran in zip(problem.apps, chosen, strict=True):
        name, accuracy = f"floor:{app.app.app_id}", app.full_accuracy - ran.drop
        floor = min(app.app.accuracy_floor, app.full_accuracy - max(0.0, _least_drop(app)))
        if accuracy < floor - _CLOSE and name not in owned:
            yield f"{name}: accuracy {accuracy:.6f} is under the floor of {floor:.6f}"


def _least_drop(app: AppOptions) -> float:
    """What the most accurate variants under the most accurate policy lose."""
    best = [min(o.accuracy_drop for o in block) for block in app.blocks]
    if not app.policies:
        return sum(best)
    return min(
        option.accuracy_drop + sum(drop for drop, share in zip(best, option.reach, strict=True) if share > 0)
        for option in app.policies
    )


def _equal(stated: float, found: float, scale: float) -> bool:
    """Equal but for rounding; a NaN equals nothing."""
    return abs(stated - found) <= _CLOSE * max(abs(scale), 1e-6)
