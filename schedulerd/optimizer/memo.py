"""Work of earlier decisions that still holds: the arrays of apps whose options are what they were.

Everything in it is compared with what it was made from, so a memo changes how soon a decision is made and not what is
proven of it. Where routes are too many to look at all, prices that would do as well may lead to other routes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from schedulerd.optimizer.cost import Swapping
from schedulerd.optimizer.problem import AppOptions, Head, Option, Problem
from schedulerd.optimizer.reduce import Kept, undominated, with_running
from schedulerd.optimizer.routes import Routes, count_routes, every_route, nondominated
from schedulerd.optimizer.tables import Table, keeping, shared_digests, swapped, table_of

FULL_ROUTES: Final = 20_000
"""An app with no more routes than this has all of them looked at,"""
_ALL_ROUTES: Final = 200_000
"""and with many apps, than its part of this."""
_MOST_COMPARED: Final = 3000
"""Routes that are compared blob by blob, where hardly one betters another."""
_MOST_SPREAD: Final = 300
"""Routes of one app that stand for all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One app's arrays."""

    whole: Table
    """With every option."""
    table: Table
    """Without those that no best plan needs."""
    routes: Routes | None
    """All that no other one equals or betters; None where there are too many of them."""
    spread: Routes | None
    """Routes that stand for all where those are too many to choose from, though not to look at."""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What was prepared for one app, and from what."""

    costs: Any
    """What the arrays but for swaps depend on."""
    running: Any
    """What swaps depend on."""
    kept: Kept
    prepared: Prepared
    """`whole` is without swaps."""


class Memo:
    """The prepared apps of the decision before, by name."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self.program: Any = None
        """The linear program of the decision before, with which `relaxation` goes on where it can."""

    def prepare(self, problem: Problem) -> tuple[Prepared, ...]:
        """The arrays of all apps, those that changed made anew; apps that are gone are forgotten."""
        about = _About(
            shared=shared_digests(problem),
            swapping=Swapping.of(problem),
            lanes=problem.limits.lanes,
            memory_may_bind=_memory_may_bind(problem),
            full_routes=min(FULL_ROUTES, _ALL_ROUTES // max(1, len(problem.apps))),
        )
        before, self._known = self._known, {}
        for app in problem.apps:
            self._known[app.app.app_id] = _known(app, before.get(app.app.app_id), about)
        return tuple(known.prepared for known in self._known.values())


@dataclass(frozen=True, slots=True)
class _About:
    """What of a whole problem the arrays of one app depend on."""

    shared: frozenset[str]
    swapping: Swapping
    lanes: int
    memory_may_bind: bool
    full_routes: int
    """How many routes of one app are looked at."""


def _memory_may_bind(problem: Problem) -> bool:
    """Whether some plan exceeds the memory limit: if none does, routes need not be compared by memory."""
    blobs = {o.digest: o for app in problem.apps for block in app.blocks for o in block}
    heads = {head.digest: head for app in problem.apps for policy in app.policies for head in policy.heads}
    everything: list[Option | Head] = [*blobs.values(), *heads.values()]
    arena_bytes = max((blob.arena_bytes for blob in everything), default=0)
    most_bytes = sum(blob.memory_bytes for blob in everything) + problem.limits.lanes * arena_bytes
    return most_bytes > problem.limits.memory_bytes


def _known(app: AppOptions, before: _Known | None, about: _About) -> _Known:
    """Of one app, with as much of what was known before as still holds."""
    digests = {o.digest for block in app.blocks for o in block} | {h.digest for p in app.policies for h in p.heads}
    percentile, shared = app.app.percentile, digests & about.shared
    scope = (about.lanes, about.memory_may_bind, about.full_routes)
    costs = (app.blocks, app.policies, app.accuracy, percentile, shared, scope)
    running = (app.running, about.swapping.cost * app.app.priority, digests & about.swapping.resident)
    if before is None or before.costs != costs:
        whole = table_of(app, about.shared)
        kept, before = undominated(whole, about.lanes), None
    else:
        whole, kept = replace(before.prepared.whole, app=app), before.kept
        if before.running == running:
            known = before.prepared
            return replace(before, prepared=replace(known, whole=whole, table=replace(known.table, app=app)))
    return _Known(costs, running, kept, _prepared(app, whole, with_running(app, kept, about.swapping), about, before))


def _prepared(app: AppOptions, whole: Table, kept: Kept, about: _About, before: _Known | None) -> Prepared:
    """The arrays for what runs now; those of before but for swaps where nothing else runs than what is kept anyway."""
    known = before.prepared.table if before is not None and before.kept is kept else None
    if known is not None and (known.counts.sum(), len(known.numbers)) == (kept.options.sum(), len(kept.policies)):
        bare = replace(known, app=app)
    else:
        bare = keeping(whole, kept.options, kept.policies)
    table = swapped(bare, about.swapping)
    if count_routes(table) > about.full_routes:
        return Prepared(whole, table, None, None)
    routes = every_route(table)
    if about.memory_may_bind and len(table.shared) and len(routes) > _MOST_COMPARED:
        return Prepared(whole, table, None, _spread(table, routes))
    return Prepared(whole, table, routes.take(nondominated(routes.faces(memory=about.memory_may_bind))), None)


def _spread(table: Table, routes: Routes) -> Routes:
    """Routes better than others where a shared blob counts in full, as if nobody else had it."""
    all_bytes = routes.own_bytes + routes.blobs @ table.shared_bytes
    best = routes.take(nondominated(np.column_stack([routes.faces(memory=False), routes.arena_bytes, all_bytes])))
    order = np.argsort(best.expected_ms, kind="stable")
    places = np.linspace(0, len(order) - 1, min(len(order), _MOST_SPREAD)).astype(np.intp)
    return best.take(np.sort(order[places]))
