"""What routes take, worked out a second time: for `recheck`, and with nothing of `cost`, `choice` or `predict`.

The definitions are those that `cost` and `contention` give with their theory; the arithmetic is another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from schedulerd.optimizer.problem import AppOptions, Head, Option, PolicyOption, Problem

_SLIGHT = 1e-9
"""Relative difference that is rounding, for times and counts on which the number of requests depends."""
_ASSUMED_W = 2.0
"""Power of a block or head whose energy could not be measured, while it runs."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ran:
    """What an app runs: one option for each block that some frame reaches, under a policy."""

    app: AppOptions
    options: tuple[Option, ...]
    policy: PolicyOption | None
    """None for a model without exits."""

    @property
    def times_ms(self) -> list[float]:
        """Median of each block with its head."""
        heads_ms = self.policy.heads_ms if self.policy else [0.0] * len(self.options)
        return [option.latency_ms + heads_ms[block] for block, option in enumerate(self.options)]

    def tail_ms(self, percentile: float) -> float:
        """Sum of the blocks' and heads' times at a percentile, 50 to 99.9."""
        pairs = [(o.latency_ms, o.latency_p95_ms) for o in self.options]
        if self.policy:
            pairs += list(zip(self.policy.heads_ms, self.policy.heads_p95_ms, strict=True))
        return sum(_at(percentile, median_ms, p95_ms) for median_ms, p95_ms in pairs)

    @property
    def expected_ms(self) -> float:
        """Mean time of a frame."""
        return self._mean(self.times_ms)

    @property
    def energy_mj(self) -> float:
        """Mean energy of a frame."""
        blocks = [_ASSUMED_W * o.latency_ms if o.energy_mj is None else o.energy_mj for o in self.options]
        if self.policy is None:
            return sum(blocks)
        heads = self.policy.heads_mj or [_ASSUMED_W * head_ms for head_ms in self.policy.heads_ms]
        return self._mean([block + heads[number] for number, block in enumerate(blocks)])

    @property
    def loss(self) -> float:
        """Of accuracy, as an absolute fraction."""
        places = [self.app.blocks[block].index(option) for block, option in enumerate(self.options)]
        return loss(self.app, places, self.policy)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the frames, by step."""
        return self.policy.shares if self.policy else (1.0,)

    def blobs(self) -> dict[str, Option | Head]:
        """What is loaded, each once, by digest."""
        loaded: list[Option | Head] = [*self.options, *(self.policy.heads if self.policy else ())]
        return {blob.digest: blob for blob in loaded}

    def _mean(self, per_block: Sequence[float]) -> float:
        """The sums up to each block, weighted with the share of the frames that ends there."""
        if self.policy is None:
            return sum(per_block)
        ends = (before - after for before, after in pairwise((*self.policy.reach[: len(self.options)], 0.0)))
        return sum(share * so_far for share, so_far in zip(ends, accumulate(per_block), strict=True))


def _at(percentile: float, median_ms: float, p95_ms: float) -> float:
    """Of a log-normal time with this median and 95th percentile."""
    if median_ms <= 0 or p95_ms <= 0 or percentile == 95.0:
        return p95_ms
    normal = NormalDist(math.log(median_ms), 1.0)
    sigmas = (normal.inv_cdf(percentile / 100) - normal.mean) / (normal.inv_cdf(0.95) - normal.mean)
    return math.exp(normal.mean + sigmas * (math.log(p95_ms) - normal.mean))


def loss(app: AppOptions, places: Sequence[int], policy: PolicyOption | None) -> float:
    """What is lost by the options at these places of their blocks, as many as the policy lets some frame reach."""
    dropped = policy.accuracy_drop if policy else 0.0
    if app.accuracy is None:
        return sum(app.blocks[block][place].accuracy_drop for block, place in enumerate(places)) + dropped
    damages = [row[place] for row, place in zip(app.accuracy.damages, places, strict=False)]
    unreached = [0.0] * (len(app.blocks) - len(places))
    return app.accuracy.original - app.accuracy.left_by([*damages, *unreached]) + dropped


def least_loss(app: AppOptions) -> float:
    """What the least damaging options that the pins leave lose under the most accurate policy that they leave."""
    damages = app.accuracy.damages if app.accuracy else [[o.accuracy_drop for o in block] for block in app.blocks]
    pins = app.pins or ("",) * len(app.blocks)
    best = []
    for block, row, pin in zip(app.blocks, damages, pins, strict=True):
        left = [i for i, option in enumerate(block) if option.variant == pin] or range(len(block))
        best.append(min(left, key=row.__getitem__))
    if not app.policies:
        return loss(app, best, None)
    held = [policy for policy in app.policies if policy.policy.steps == app.pinned_exits] or app.policies
    reached = [sum(share > 0 for share in policy.reach) for policy in held]
    return min(loss(app, best[:depth], policy) for depth, policy in zip(reached, held, strict=True))


def memory_bytes(problem: Problem, chosen: Sequence[Ran]) -> int:
    """Every blob once, and the activations of the one that needs most on every lane."""
    blobs = {digest: blob for ran in chosen for digest, blob in ran.blobs().items()}
    arena_bytes = max((blob.arena_bytes for blob in blobs.values()), default=0)
    return sum(blob.memory_bytes for blob in blobs.values()) + problem.limits.lanes * arena_bytes


def utilisation(problem: Problem, chosen: Sequence[Ran]) -> float:
    """Share of all lanes together."""
    return sum(ran.app.app.rate_hz * ran.expected_ms for ran in chosen) / 1000.0 / problem.limits.lanes


def power_w(chosen: Sequence[Ran]) -> float:
    """Mean of all apps together."""
    return sum(ran.app.app.rate_hz * ran.energy_mj for ran in chosen) / 1000.0


def waits_ms(problem: Problem, chosen: Sequence[Ran]) -> list[float]:
    """For each app, the longest that one of its requests waits for others.

    It waits when it arrives together with them, or just so much later that one more request, of another app or an
    earlier one of its own, is due no later than it is.
    """
    budget_ms = np.array([ran.app.app.budget_ms for ran in chosen], np.float64)
    period_ms = np.array([1000.0 / ran.app.app.rate_hz for ran in chosen], np.float64)
    whole_ms = np.array([sum(ran.times_ms) for ran in chosen], np.float64)
    longest_ms = np.array([max(ran.times_ms) for ran in chosen], np.float64)
    waits = []
    for own, ran in enumerate(chosen):
        others = _regulars(budget_ms, period_ms, own, 1.0 - ran.app.app.percentile / 100.0)
        counted = others.copy()
        counted[own] = True
        first_lags_ms = _due_by(budget_ms, period_ms, budget_ms[own]) * period_ms + budget_ms - budget_ms[own]
        lags_ms = np.append(first_lags_ms[counted], 0.0)
        requests = _due_by(budget_ms, period_ms, (budget_ms[own] + lags_ms)[:, None]) * counted
        blocks_ms = np.where(others & (requests == 0), longest_ms, 0.0).max(axis=1)
        requests[:, own] -= 1
        waits.append(float((requests @ whole_ms / problem.limits.lanes + blocks_ms - lags_ms).max()))
    return waits


def _due_by(budget_ms: _Floats, period_ms: _Floats, due_ms: _Floats | float) -> _Floats:
    """Requests of each app that are due by `due_ms`, the first of them having come at 0."""
    spare_periods = (due_ms - budget_ms) / period_ms + _SLIGHT
    return np.asarray(np.where(spare_periods < 0, 0.0, 1.0 + np.floor(spare_periods)))


def _regulars(budget_ms: _Floats, period_ms: _Floats, own: int, rare: float) -> NDArray[np.bool_]:
    """The other apps, but for the rarest: those that together delay a share of the requests below `rare`."""
    share = np.maximum(budget_ms, budget_ms[own]) / period_ms
    share[own] = 0.0
    rarer = np.where(share[None, :] < share[:, None] + _SLIGHT, share[None, :], 0.0).sum(axis=1)
    regular = rarer > rare - _SLIGHT
    regular[own] = False
    return np.asarray(regular)
