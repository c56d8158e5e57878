"""The routes that each app chooses from: all that matter, or those that are cheapest at the prices of what is short.

A route that costs more at those prices than a known plan is above the bound is in no better plan (reduced cost fixing:
Dantzig, Fulkerson and Johnson 1954; route enumeration: Baldacci, Christofides and Mingozzi 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schedulerd.optimizer.cost import TOLERANCE
from schedulerd.optimizer.diving import Rounded
from schedulerd.optimizer.memo import Prepared
from schedulerd.optimizer.relaxation import Priced
from schedulerd.optimizer.routes import Routes, cheapest_routes, joined, routes_of
from schedulerd.optimizer.tables import Ints, Table
from schedulerd.plan import Route

_ALL_ROUTES: Final = 400
"""Routes of all apps together that are looked at where there are more of them."""
_ALL_KNOWN: Final = 4000
"""The same where all that matter are known."""
_LEAST: Final = 32
"""Of one app."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """One app's routes, and where some of them are."""

    routes: Routes
    rest: float
    """What any other route costs beyond the best, at the prices; inf where there is no other."""
    running: int | None
    """Where the route is that runs now; None where it cannot go on."""
    near: tuple[int | None, ...]
    """Where the routes are that were asked for; None where the floor forbids one."""
    fastest: int


def candidates_of(prepared: Prepared, priced: Priced, near: Sequence[Rounded], apps: int) -> Candidates:
    """What one of `apps` apps chooses from, the routes `near` among it; accuracy floors are kept."""
    table = prepared.table
    running = _place_of(table, table.app.running)
    if prepared.routes is not None:
        known, rest = _cheapest(prepared.routes, priced, max(_LEAST, _ALL_KNOWN // apps))
        parts = [known]
    else:
        count = max(_LEAST, _ALL_ROUTES // apps)
        cheapest, rest = cheapest_routes(table, priced.costs, priced.policy_costs, count)
        parts = [cheapest, *([prepared.spread] if prepared.spread else [])]
    parts.append(_routes_at(table, [_quickest(table), *near, *([running] if running else [])]))
    routes = joined(parts)
    allowed = table.allowed_loss() + TOLERANCE
    kept = routes.loss <= allowed
    routes = routes.take(kept if kept.any() else routes.loss <= routes.loss.min())
    return Candidates(
        routes=routes,
        rest=rest,
        running=_row_of(routes, running),
        near=tuple(_row_of(routes, route) for route in near),
        fastest=int(np.argmin(routes.tail_ms)),
    )


def _cheapest(routes: Routes, priced: Priced, count: int) -> tuple[Routes, float]:
    """The `count` cheapest of these, and what the others cost at least."""
    if len(routes) <= count:
        return routes, np.inf
    beyond = priced.beyond(routes.policy, routes.picks)
    order = np.argsort(beyond, kind="stable")
    return routes.take(np.sort(order[:count])), float(beyond[order[count]])


def _quickest(table: Table) -> tuple[int, list[int]]:
    """The policy with the quickest worst path, with the quickest options."""
    real = np.arange(table.index.shape[1]) < table.counts[:, None]
    picks = np.argmin(np.where(real, table.tail_ms, np.inf), axis=1)
    blocks = np.arange(table.blocks)
    times_ms = table.tail_ms[blocks, picks] + table.heads_tail_ms
    paths_ms = np.where(blocks < table.depth[:, None], times_ms, 0.0).sum(axis=1)
    return int(np.argmin(paths_ms)), picks.tolist()


def _place_of(table: Table, route: Route | None) -> tuple[int, list[int]] | None:
    """Places of a route's policy and options; None where something of it is not offered."""
    if route is None:
        return None
    app = table.app
    policies = [app.policies[n].policy for n in table.numbers] if app.policies else [route.policy]
    if route.policy not in policies:
        return None
    place = policies.index(route.policy)
    if len(route.digests) != table.depth[place]:
        return None
    picks = [0] * table.blocks
    for block, (variant, digest) in enumerate(zip(route.variants, route.digests, strict=True)):
        names = [(o.variant, o.digest) for o in (app.blocks[block][i] for i in table.index[block])]
        if (variant, digest) not in names:
            return None
        picks[block] = names.index((variant, digest))
    return place, picks


def _routes_at(table: Table, places: Sequence[tuple[int, list[int]]]) -> Routes:
    policies = np.array([policy for policy, _ in places], np.intp)
    return routes_of(table, policies, np.array([picks for _, picks in places], np.intp))


def _row_of(routes: Routes, place: tuple[int, list[int]] | None) -> int | None:
    if place is None:
        return None
    policy, picks = place
    same: Ints = np.flatnonzero((routes.policy == policy) & (routes.picks == np.array(picks)).all(axis=1))
    return int(same[0]) if len(same) else None
