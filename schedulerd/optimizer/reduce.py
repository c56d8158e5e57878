"""Options and policies that no best plan needs are left out before anything is decided: the same optimum, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedulerd.optimizer.choice import by_accuracy
from schedulerd.optimizer.cost import Swapping, policies_of
from schedulerd.optimizer.problem import AppOptions, PolicyOption
from schedulerd.optimizer.tables import Bools, Table


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What one app has to choose from, by place in a table of everything."""

    options: Bools
    """[blocks, places]"""
    policies: tuple[int, ...]
    """From the most accurate one down."""


def undominated(table: Table, lanes: int) -> Kept:
    """The options of every block and the policies that no other equals or betters in everything.

    An option whose blob some other block may run too can cost no memory at all, so another one betters it in memory
    only where that one is free or is the same blob. Where its activations take more, on every lane, its blob has to be
    smaller by as much.

    Args: table: with all options; lanes: how many run at once.
    """
    kept = np.zeros(table.index.shape, np.bool_)
    for block, count in enumerate(table.counts):
        digests = [option.digest for option in table.app.blocks[block]]
        kept[block, :count] = ~_beaten(table, block, int(count), digests, lanes)
    return Kept(kept, tuple(_policies(table.app)))


def with_running(app: AppOptions, kept: Kept, swapping: Swapping) -> Kept:
    """The same with what `app` runs now, and with what is resident, where swaps cost something: less for these.

    The same object where nothing has to be added.
    """
    if app.running is None or not swapping.cost:
        return kept
    options, policies = kept.options.copy(), list(kept.policies)
    for block, offered in enumerate(app.blocks):
        for place, option in enumerate(offered):
            options[block, place] |= swapping.of_block(app.running, block, option.digest) < 1.0
    for number, policy in enumerate(policies_of(app)):
        if policy.policy == app.running.policy and number not in policies:
            policies.append(number)
    if len(policies) == len(kept.policies) and (options == kept.options).all():
        return kept
    return Kept(options, tuple(policies))


def _beaten(table: Table, block: int, count: int, digests: Sequence[str], lanes: int) -> Bools:
    """[options]: those of one block that another one dominates; of equals the first stays."""
    columns = (table.damage, table.median_ms, table.tail_ms, table.energy_mj)
    figures = np.stack([column[block, :count] for column in columns])
    own_bytes, arena_bytes = table.own_bytes[block, :count], table.arena_bytes[block, :count]
    shared = table.blob[block, :count] >= 0
    size_bytes = np.where(shared, table.shared_bytes[table.blob[block, :count]] if shared.any() else 0.0, own_bytes)
    more_bytes = lanes * np.maximum(0.0, arena_bytes[:, None] - arena_bytes)
    numbers = {digest: number for number, digest in enumerate(digests)}
    names = np.array([numbers[digest] for digest in digests])
    same_blob = names[:, None] == names
    # One in rows, the other in columns.
    no_worse = (figures[:, :, None] <= figures[:, None, :]).all(axis=0)
    if table.app.accuracy is not None and any(cosine < 0 for row in table.app.accuracy.cosines for cosine in row):
        # More damage may undo that of another block.
        no_worse &= figures[0][:, None] == figures[0]
    no_worse &= same_blob & (more_bytes == 0) | (size_bytes[:, None] + more_bytes <= own_bytes)
    equal = no_worse & no_worse.T
    earlier = np.arange(count)[:, None] < np.arange(count)
    return np.asarray((no_worse & (~equal | earlier)).any(axis=0))


def _policies(app: AppOptions) -> list[int]:
    """A policy that dominates another one comes before it in the order."""
    policies = policies_of(app)
    kept: list[int] = []
    for index in by_accuracy(app):
        if not any(_serves(app, policies[other], policies[index]) for other in kept):
            kept.append(index)
    return kept


def _serves(app: AppOptions, one: PolicyOption, other: PolicyOption) -> bool:
    """Whether nothing is lost by following `one` instead of `other`, whatever variants run.

    Some variants gain accuracy, so the blocks behind the depth of `one` may be to the credit of `other`.
    """
    behind = 0.0
    if app.accuracy is None:
        behind = sum(min(o.accuracy_drop for o in block) for block in app.blocks[one.depth : other.depth])
    return (
        one.depth <= other.depth
        and one.accuracy_drop <= other.accuracy_drop + behind
        and _never_above(one.reach, other.reach)
        and _never_above(one.heads_ms, other.heads_ms)
        and _never_above(one.heads_p95_ms, other.heads_p95_ms)
        and _never_above(one.heads_mj, other.heads_mj)
        and {head.digest for head in one.heads} <= {head.digest for head in other.heads}
    )


def _never_above(ones: Sequence[float], others: Sequence[float]) -> bool:
    return len(ones) == len(others) and all(one <= other for one, other in zip(ones, others, strict=True))
