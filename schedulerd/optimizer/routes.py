"""Many routes of one app with what each takes, as arrays: what the optimizer chooses from.

An app chooses one of its routes; that makes a decision over blocks and exit policies one over rows (Dantzig and Wolfe
1960), and whatever a route costs is known when the choice is made, however it comes about: accuracies that do not add
up, percentiles, the longest block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from schedulerd.optimizer.accuracy import losses
from schedulerd.optimizer.tables import Bools, Floats, Ints, Table


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """Rows of arrays; what each takes is `cost.RouteCost`."""

    policy: Ints
    """Place in `Table.numbers`."""
    picks: Ints
    """[routes, blocks]: place in the table; 0 past the depth of the policy."""
    loss: Floats
    """Of accuracy, as an absolute fraction."""
    median_ms: Floats
    tail_ms: Floats
    longest_ms: Floats
    expected_ms: Floats
    energy_mj: Floats
    arena_bytes: Floats
    own_bytes: Floats
    """Of blobs that no other place of the problem can load."""
    swap: Floats
    blobs: Bools
    """[routes, shared]: which of `Table.shared` are loaded."""

    def __len__(self) -> int:
        return len(self.policy)

    def faces(self, *, memory: bool) -> Floats:
        """[routes, figures]: all that a route can be better in, less being better; with `memory` that too."""
        names = ("loss", "median_ms", "tail_ms", "longest_ms", "expected_ms", "energy_mj", "swap")
        figures = [getattr(self, name) for name in names]
        return np.column_stack([*figures, self.arena_bytes, self.own_bytes, self.blobs] if memory else figures)

    def take(self, rows: Ints | Bools) -> Routes:
        """Some of them."""
        return Routes(*(getattr(self, field.name)[rows] for field in fields(self)))


def routes_of(table: Table, policy: Ints, picks: Ints) -> Routes:
    """What routes take.

    Args:
        table: of the app.
        policy: [routes] places of policies.
        picks: [routes, blocks] places of options; what they say past the depth of the policy is ignored.
    """
    blocks = np.arange(table.blocks)
    run = blocks < table.depth[policy][:, None]
    picks = np.where(run, picks, 0)
    times_ms = np.where(run, table.median_ms[blocks, picks] + table.heads_ms[policy], 0.0)
    tails_ms = np.where(run, table.tail_ms[blocks, picks] + table.heads_tail_ms[policy], 0.0)
    energies_mj = np.where(run, table.energy_mj[blocks, picks] + table.heads_mj[policy], 0.0)
    reach = table.reach[policy]
    damages = np.where(run, table.damage[blocks, picks], 0.0)
    arenas = np.where(run, table.arena_bytes[blocks, picks], 0.0)
    return Routes(
        policy=policy,
        picks=picks,
        loss=losses(table.app.accuracy, damages) + table.policy_drop[policy],
        median_ms=times_ms.sum(axis=1),
        tail_ms=tails_ms.sum(axis=1),
        longest_ms=times_ms.max(axis=1),
        expected_ms=(times_ms * reach).sum(axis=1),
        energy_mj=(energies_mj * reach).sum(axis=1),
        arena_bytes=np.maximum(arenas.max(axis=1), table.heads_arena_bytes[policy]),
        own_bytes=np.where(run, table.own_bytes[blocks, picks], 0.0).sum(axis=1) + table.heads_own_bytes[policy],
        swap=np.where(run, table.swap[blocks, picks], 0.0).sum(axis=1) + table.policy_swap[policy],
        blobs=_blobs(table, policy, picks, run),
    )


def _blobs(table: Table, policy: Ints, picks: Ints, run: Bools) -> Bools:
    loaded = table.heads_blobs[policy]
    numbers = np.where(run, table.blob[np.arange(table.blocks), picks], -1)
    rows, blocks = np.nonzero(numbers >= 0)
    loaded[rows, numbers[rows, blocks]] = True
    return loaded


def count_routes(table: Table) -> int:
    """How many there are, over all policies."""
    return sum(int(np.prod(table.counts[:depth], dtype=object)) for depth in table.depth)


def every_route(table: Table) -> Routes:
    """All of them; mind `count_routes`."""
    policies, picks = [], []
    for place, depth in enumerate(table.depth):
        grid = np.indices(tuple(table.counts[:depth])).reshape(depth, -1).T
        picks.append(np.pad(grid, ((0, 0), (0, table.blocks - depth))))
        policies.append(np.full(len(grid), place, np.intp))
    return routes_of(table, np.concatenate(policies), np.concatenate(picks).astype(np.intp))


def cheapest_routes(table: Table, costs: Floats, policy_costs: Floats, count: int) -> tuple[Routes, float]:
    """The routes whose costs add up to least, cheapest first, and what every other one costs at least.

    Block by block only the `count` cheapest beginnings are kept. That is exact: each goes on to a whole route with the
    cheapest options behind it, so a beginning with `count` cheaper ones is on none of the cheapest routes.

    Args:
        table: of the app.
        costs: [policies, blocks, places], finite where the place is real and the policy reaches the block.
        policy_costs: [policies].
        count: how many are wanted; inf as second result where there are no more.
    """
    policies, picks, sums = [], [], []
    rest = np.inf
    for place, depth in enumerate(table.depth):
        found, total, left_out = _cheapest_picks(table, costs[place, :depth], count)
        policies.append(np.full(len(found), place, np.intp))
        picks.append(np.pad(found, ((0, 0), (0, table.blocks - depth))))
        sums.append(total + policy_costs[place])
        rest = min(rest, left_out + policy_costs[place])
    together = np.concatenate(sums)
    order = np.argsort(together, kind="stable")
    if len(order) > count:
        rest = min(rest, float(together[order[count]]))
        order = order[:count]
    return routes_of(table, np.concatenate(policies)[order], np.concatenate(picks)[order]), rest


def _cheapest_picks(table: Table, costs: Floats, count: int) -> tuple[Ints, Floats, float]:
    """[routes, blocks] places, what they cost, and what others cost at least."""
    cheapest = [costs[b, : table.counts[b]].min() for b in range(len(costs))]
    behind = sum(cheapest)
    picks, sums, rest = np.zeros((1, 0), np.intp), np.zeros(1), np.inf
    for block, row in enumerate(costs):
        behind -= cheapest[block]
        places = table.counts[block]
        longer = (sums[:, None] + row[:places]).ravel()
        kept = np.arange(len(longer))
        if len(longer) > count:
            # The one at place `count` is as cheap as any that is left out.
            order = np.argpartition(longer, count)
            rest = min(rest, float(longer[order[count]]) + behind)
            kept = np.sort(order[:count])
        picks = np.column_stack([picks[kept // places], kept % places])
        sums = longer[kept]
    return picks, sums, rest


def nondominated(values: Floats) -> Ints:
    """Rows of `values` [rows, figures] that no other row equals or undercuts in every figure; of equals the first."""
    scale = values.max(axis=0, initial=0.0)
    values = values / np.where(scale > 0, scale, 1.0)
    order = np.lexsort((np.arange(len(values)), values.sum(axis=1)))
    rest = values[order]
    kept: list[int] = []
    while len(order):
        kept.append(int(order[0]))
        # What dominates a row has a smaller sum, so nothing dominates the first of those that are left.
        open_ = (rest < rest[0]).any(axis=1)
        order, rest = order[open_], rest[open_]
    return np.array(sorted(kept), np.intp)


def joined(parts: Sequence[Routes]) -> Routes:
    """All routes of several sets of one app, each once."""
    together = Routes(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Routes)))
    _, first = np.unique(np.column_stack([together.policy, together.picks]), axis=0, return_index=True)
    return together.take(np.sort(first))
