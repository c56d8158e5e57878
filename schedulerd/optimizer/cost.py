"""What routes take and which limits hold them: latency, waits, utilisation, memory, accuracy floors.

Everything that decides or reports predicts with the formulas of this file; `recheck` has its own.

The 95th percentile of an app's latency is predicted as

    own blocks' p95 + overhead
    + max over windows of (sum over apps ahead of n * route + longest block in the way - time elapsed)

where the windows and the n of each are constants of budgets and rates (`contention`, with the theory and its papers),
so that the prediction is linear in the choice but for the two maxima, which an integer program can hold down as well.
The queue is by earliest deadline and decides again at every block boundary: an urgent request waits for one block of
the less urgent ones, a less urgent request for whole requests of the more urgent ones.

The 95th percentile of the sum of blocks is bounded by the sum of the blocks' 95th percentiles. The bound has to be
linear for the integer program. It is exact when the blocks of one request are slow together (comonotone), and
that is the rule, because what makes them slow (clock, cache, another process) outlasts a block; for independent
blocks it errs on the safe side, since the root of summed squares is at most the sum. Sum of medians times the largest
ratio is linear too, and never below it. Waits count the medians of others: that they all arrive together, and just
after the longest block has started, is already the worst case.

With exits, latency and waits are those of a frame that leaves at the last step of its policy, after every enabled head
on the way: a hard frame has a deadline too, and hard frames follow each other. Lanes are shared out by the expected
path, on which each block and its head count by the share of the frames that come there. Blocks that no frame can reach
take nothing. A head runs in one go with its block.

Memory is that of all distinct blobs and, once for each lane, what the one with the largest activations needs: they
live in one arena, which keeps what was ever needed, and one blob may run on all lanes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import mul

import numpy as np

from blockstore.exits import NO_EXITS
from schedulerd.optimizer.accuracy import loss_of, most_accurate_picks
from schedulerd.optimizer.contention import Contention
from schedulerd.optimizer.percentile import MEASURED, at_percentile
from schedulerd.optimizer.problem import AppOptions, Limits, Option, PolicyOption, Problem
from schedulerd.plan import Route

TOLERANCE = 1e-6
"""Relative excess of a limit that is rounding of the solver and not a break."""

FLOOR_RANK, MEMORY_RANK, UTILISATION_RANK, POWER_RANK = 0, 1, 2, 3
_LEAST_BUDGET_RANK = 14
"""Rank of a budget at priority 0: priority 10 comes right after power."""
UNREAD_W = 2.0
"""What a busy core is taken to draw where no energy could be read: some of what a Pi's or a Jetson's does."""
RESIDENT_SWAP, POLICY_SWAP = 0.5, 0.25
"""What counts as less than the change of a block: one whose new blob is in memory already, and another exit policy."""


def budget_rank(app: AppOptions) -> int:
    """Rank of an app's budget among the limits: the higher the priority, the later it is given up."""
    return _LEAST_BUDGET_RANK - app.app.priority


def policies_of(app: AppOptions) -> tuple[PolicyOption, ...]:
    """The policies to choose from: the only one there is for a model without exits."""
    return app.policies or (_whole_route(len(app.blocks)),)


@cache
def _whole_route(blocks: int) -> PolicyOption:
    """Every frame runs every block of a model without exits."""
    nothing = (0.0,) * blocks
    return PolicyOption(NO_EXITS, (1.0,), (1.0,) * blocks, nothing, nothing, (), 0.0)


def least_drops(app: AppOptions) -> tuple[float, ...]:
    """For each policy what the most accurate variants lose under it."""
    picks = most_accurate_picks(app)
    return tuple(loss_of(app, picks, policy) for policy in policies_of(app))


def floor_of(app: AppOptions) -> float:
    """The accuracy floor that is held: never above what the original, or the best that is left of it, gives."""
    attainable = app.full_accuracy - min(least_drops(app))
    return min(app.app.accuracy_floor, app.full_accuracy, attainable)


def memory_scale(limits: Limits) -> float:
    """Bytes that an excess of memory is a share of; a limit under 1 MB counts as 1 MB."""
    return max(limits.memory_bytes, 10**6)


def weight_of(app: AppOptions) -> float:
    """What one unit of accuracy drop costs: priority over full accuracy, so that each app is its own measure."""
    return app.app.priority / (app.full_accuracy or 1.0)


@dataclass(frozen=True, slots=True)
class RouteCost:
    """What one app's route takes under the present load, on its own: without overhead and waiting."""

    median_ms: float
    """Of a frame that leaves at the last step, as `p95_ms`."""
    p95_ms: float
    tail_ms: float
    """The percentile that the app's budget is about."""
    longest_ms: float
    """Median of the longest block with its head: how long another app's urgent request may have to wait."""
    expected_ms: float
    """Mean over the frames, by where they are expected to leave."""
    energy_mj: float
    """Mean over the frames, with `UNREAD_W` where none could be measured."""
    accuracy_drop: float
    arena_bytes: int
    """Most that the activations of one of its blocks or heads take."""
    swap_loss: float
    """What leaving the running route costs, as weighted accuracy."""


def route_cost(app: AppOptions, picks: Sequence[int], policy: PolicyOption, swapping: Swapping) -> RouteCost:
    """Cost of running, for each block within the depth of `policy`, the option that `picks` says."""
    options = [block[pick] for block, pick in zip(app.blocks[: policy.depth], picks, strict=False)]
    times = [o.latency_ms + head_ms for o, head_ms in zip(options, policy.heads_ms, strict=False)]
    p95s = [o.latency_p95_ms + head_ms for o, head_ms in zip(options, policy.heads_p95_ms, strict=False)]
    return RouteCost(
        median_ms=sum(times),
        p95_ms=sum(p95s),
        tail_ms=sum(p95s) if app.app.percentile == MEASURED else _tail_ms(app.app.percentile, options, policy),
        longest_ms=max(times),
        expected_ms=sum(map(mul, times, policy.reach)),
        energy_mj=sum(map(mul, _energies_mj(options, policy), policy.reach)),
        accuracy_drop=loss_of(app, picks, policy),
        arena_bytes=max([o.arena_bytes for o in options] + [head.arena_bytes for head in policy.heads]),
        swap_loss=swapping.loss(app, options, policy),
    )


def _tail_ms(percentile: float, options: Sequence[Option], policy: PolicyOption) -> float:
    """Sum over the blocks and the heads behind them, each at the percentile."""
    blocks_ms = sum(at_percentile(o.latency_ms, o.latency_p95_ms, percentile) for o in options)
    heads = zip(policy.heads_ms, policy.heads_p95_ms, strict=True)
    return blocks_ms + sum(at_percentile(median_ms, p95_ms, percentile) for median_ms, p95_ms in heads)


def _energies_mj(options: Sequence[Option], policy: PolicyOption) -> list[float]:
    """Of each block with the head behind it."""
    heads_mj = policy.heads_mj or tuple(UNREAD_W * head_ms for head_ms in policy.heads_ms)
    return [energy_mj(o) + head_mj for o, head_mj in zip(options, heads_mj, strict=False)]


def energy_mj(option: Option) -> float:
    """Energy of one run, taken from its time where it could not be measured."""
    return UNREAD_W * option.latency_ms if option.energy_mj is None else option.energy_mj


@dataclass(frozen=True, slots=True)
class Swapping:
    """What leaving a running route costs."""

    cost: float
    """`Problem.swap_cost`."""
    resident: frozenset[str]

    @staticmethod
    def of(problem: Problem) -> Swapping:
        """Under `problem`."""
        return Swapping(problem.swap_cost, problem.resident)

    def loss(self, app: AppOptions, options: Sequence[Option], policy: PolicyOption) -> float:
        """As weighted accuracy; `options` are of the blocks within the depth of `policy`."""
        if app.running is None or not self.cost:
            return 0.0
        left = policy.policy != app.running.policy
        shares = [self.of_block(app.running, block, o.digest) for block, o in enumerate(options)]
        return self.scale(app) * (sum(shares) + POLICY_SWAP * left)

    def of_block(self, running: Route, block: int, digest: str) -> float:
        """Share of one block's change that taking `digest` there is."""
        if block < len(running.digests) and running.digests[block] == digest:
            return 0.0
        return RESIDENT_SWAP if digest in self.resident else 1.0

    def scale(self, app: AppOptions) -> float:
        """What the change of one block costs."""
        return self.cost * app.app.priority / len(app.blocks)


def waits_ms(contention: Contention, costs: Sequence[RouteCost]) -> tuple[float, ...]:
    """The longest that a request of each app waits for others."""
    medians_ms = np.array([cost.median_ms for cost in costs])
    longest_ms = np.array([cost.longest_ms for cost in costs])
    return tuple(contention.waits_ms(medians_ms, longest_ms).tolist())


def utilisation_of(problem: Problem, costs: Sequence[RouteCost]) -> float:
    """Share of all lanes' time that the apps take at their rates."""
    busy = sum(a.app.rate_hz * c.expected_ms for a, c in zip(problem.apps, costs, strict=True))
    return busy / 1000.0 / problem.limits.lanes


def power_of(problem: Problem, costs: Sequence[RouteCost]) -> float:
    """Mean power of all apps at their rates, in watts."""
    return sum(a.app.rate_hz * c.energy_mj for a, c in zip(problem.apps, costs, strict=True)) / 1000.0


def activation_bytes(limits: Limits, costs: Iterable[RouteCost]) -> int:
    """Memory of the activations of all these routes together."""
    return limits.lanes * max([cost.arena_bytes for cost in costs], default=0)
