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

from blockstore.exits import NO_EXITS
from schedulerd.control.contention import Window
from schedulerd.control.problem import AppOptions, Limits, Option, PolicyOption, Problem

TOLERANCE = 1e-6
"""Relative excess of a limit that is rounding of the solver and not a break."""

FLOOR_RANK, MEMORY_RANK, UTILISATION_RANK = 0, 1, 2
_LEAST_BUDGET_RANK = 13
"""Rank of a budget at priority 0: priority 10 comes right after utilisation."""


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


def least_drop(app: AppOptions, policy: PolicyOption) -> float:
    """What the most accurate variants lose under a policy."""
    return sum(min(o.accuracy_drop for o in block) for block in app.blocks[: policy.depth]) + policy.accuracy_drop


def floor_of(app: AppOptions) -> float:
    """The accuracy floor that is held: never above what the original, or the best that is left of it, gives."""
    attainable = app.full_accuracy - min(least_drop(app, policy) for policy in policies_of(app))
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
    longest_ms: float
    """Median of the longest block with its head: how long another app's urgent request may have to wait."""
    expected_ms: float
    """Mean over the frames, by where they are expected to leave."""
    accuracy_drop: float
    arena_bytes: int
    """Most that the activations of one of its blocks or heads take."""


def route_cost(options: Sequence[Option], policy: PolicyOption) -> RouteCost:
    """Cost of running one option after the other under a policy, one for each block within its depth."""
    times = [o.latency_ms + head_ms for o, head_ms in zip(options, policy.heads_ms, strict=False)]
    p95s = [o.latency_p95_ms + head_ms for o, head_ms in zip(options, policy.heads_p95_ms, strict=False)]
    return RouteCost(
        median_ms=sum(times),
        p95_ms=sum(p95s),
        longest_ms=max(times),
        expected_ms=sum(map(mul, times, policy.reach)),
        accuracy_drop=sum(o.accuracy_drop for o in options) + policy.accuracy_drop,
        arena_bytes=max([o.arena_bytes for o in options] + [head.arena_bytes for head in policy.heads]),
    )


def wait_in_ms(window: Window, costs: Sequence[RouteCost]) -> float:
    """What a request waits in one window, with what each app's route costs; below 0 where all is done before it."""
    # Plain loops: the greedy search spends most of its time here.
    ahead_ms = block_ms = 0.0
    for other, requests in window.ahead:
        ahead_ms += requests * costs[other].median_ms
    for other in window.blockers:
        block_ms = max(block_ms, costs[other].longest_ms)
    return ahead_ms + block_ms - window.elapsed_ms


def wait_ms(windows: Sequence[Window], costs: Sequence[RouteCost]) -> float:
    """The longest that an app's request waits for others; `windows` are its part of the contention."""
    return max([wait_in_ms(window, costs) for window in windows])


def utilisation_of(problem: Problem, costs: Sequence[RouteCost]) -> float:
    """Share of all lanes' time that the apps take at their rates."""
    busy = sum(a.app.rate_hz * c.expected_ms for a, c in zip(problem.apps, costs, strict=True))
    return busy / 1000.0 / problem.limits.lanes


def activation_bytes(limits: Limits, costs: Iterable[RouteCost]) -> int:
    """Memory of the activations of all these routes together."""
    return limits.lanes * max([cost.arena_bytes for cost in costs], default=0)
