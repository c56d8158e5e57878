"""Options and policies that no best plan needs are left out before the program is built: the same optimum, sooner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schedulerd.control.choice import by_accuracy
from schedulerd.control.cost import policies_of
from schedulerd.control.problem import AppOptions, Option, PolicyOption, Problem


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is to choose from."""

    options: tuple[tuple[tuple[int, ...], ...], ...]
    """Indices of the options, for each app and block."""
    policies: tuple[tuple[int, ...], ...]
    """Indices into `policies_of` each app, from the most accurate one down."""


def undominated(problem: Problem) -> Kept:
    """The options of every block and the policies of every app that no other equals or betters in everything.

    An option whose blob some other block may run too can cost no memory at all, so another one betters it in memory
    only where that one is free or is the same blob. Where its activations take more, on every lane, its blob has to be
    smaller by as much.
    """
    lanes = problem.limits.lanes
    places = Counter(digest for app in problem.apps for block in app.blocks for digest in {o.digest for o in block})
    shared = {digest for digest, count in places.items() if count > 1}
    return Kept(
        options=tuple(tuple(_front(block, shared, lanes) for block in app.blocks) for app in problem.apps),
        policies=tuple(_policies(app) for app in problem.apps),
    )


def _front(block: Sequence[Option], shared: set[str], lanes: int) -> tuple[int, ...]:
    """Indices, in the block's order. Sorted by quality, only what comes earlier can dominate."""
    order = sorted(range(len(block)), key=lambda i: (*_costs(block[i]), i))
    kept: list[int] = []
    for index in order:
        if not any(_dominates(block[other], block[index], shared, lanes) for other in kept):
            kept.append(index)
    return tuple(sorted(kept))


def _costs(option: Option) -> tuple[float, float, float, int, int]:
    return option.accuracy_drop, option.latency_ms, option.latency_p95_ms, option.memory_bytes, option.arena_bytes


def _dominates(one: Option, other: Option, shared: set[str], lanes: int) -> bool:
    """Whether nothing is lost by running `one` where `other` could run."""
    more_bytes = lanes * max(0, one.arena_bytes - other.arena_bytes)
    least_memory = 0 if other.digest in shared else other.memory_bytes
    return (
        one.accuracy_drop <= other.accuracy_drop
        and one.latency_ms <= other.latency_ms
        and one.latency_p95_ms <= other.latency_p95_ms
        and (one.digest == other.digest or one.memory_bytes + more_bytes <= least_memory)
    )


def _policies(app: AppOptions) -> tuple[int, ...]:
    """A policy that dominates another one comes before it in the order."""
    policies = policies_of(app)
    kept: list[int] = []
    for index in by_accuracy(app):
        if not any(_serves(app, policies[other], policies[index]) for other in kept):
            kept.append(index)
    return tuple(kept)


def _serves(app: AppOptions, one: PolicyOption, other: PolicyOption) -> bool:
    """Whether nothing is lost by following `one` instead of `other`, whatever variants run.

    Some variants gain accuracy, so the blocks behind the depth of `one` may be to the credit of `other`.
    """
    behind = sum(min(o.accuracy_drop for o in block) for block in app.blocks[one.depth : other.depth])
    return (
        one.depth <= other.depth
        and one.accuracy_drop <= other.accuracy_drop + behind
        and _never_above(one.reach, other.reach)
        and _never_above(one.heads_ms, other.heads_ms)
        and _never_above(one.heads_p95_ms, other.heads_p95_ms)
        and {head.digest for head in one.heads} <= {head.digest for head in other.heads}
    )


def _never_above(ones: Sequence[float], others: Sequence[float]) -> bool:
    return all(one <= other for one, other in zip(ones, others, strict=True))
