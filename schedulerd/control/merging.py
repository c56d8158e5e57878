"""Which neighbouring blocks of a route may be merged into one session. Pure.

A lane looks at the queue between blocks, so a merged run is a stretch on which nobody overtakes. What the plan predicts
of the other apps has a block in their way that is as long as the longest one of this route; a run may be longer than
that by the time they have left to their budgets (their *room*). By earliest deadline it is in nobody's way whose
budget is no shorter, as such requests go first only when they came first, unless their priority is higher, which counts
once both are late. A late request steps aside for any that can be in time; merged, it does so a little later, and the
plan has counted it as ahead of those anyway.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from blockprofiles.record import Row
from blockprofiles.table import Table
from blockstore.exits import NO_EXITS
from schedulerd.merging.verdict import Run
from schedulerd.optimizer.percentile import MEASURED
from schedulerd.plan import App, AppPlan, Route
from schedulerd.serving.apps import LiveApp

ENGINE: Final = "onnxruntime"
"""The only engine whose blocks can be merged."""
SETTLED_S: Final = 10.0
"""A route that has stood for so long is worth the trouble."""
ROOM: Final = 0.9
"""Share of the memory limit up to which merged sessions may fill it: more would be given up at the next breath."""


def mergeable(route: Route, rows: Sequence[Row]) -> bool:
    """Whether blocks of a route can be merged at all; `rows` are those of its blocks, in order.

    A head takes the output of a block inside the route, so a route with exits keeps its blocks apart.
    """
    kinds = {(row.engine, row.threads) for row in rows}
    exits = route.heads or route.policy.steps != NO_EXITS.steps
    return len(rows) > 1 and not exits and len(kinds) == 1 and rows[0].engine == ENGINE


def room_ms(app: App, others: Iterable[tuple[App, AppPlan]]) -> float:
    """By how much a run of `app` may outlast its longest block without costing another app its budget.

    Args: app; others: the other apps with what is predicted for them. Infinite where it is in nobody's way, 0 beside an
    app of which nothing is predicted for the percentile that its budget is about.
    """
    waiting = [(spec, plan) for spec, plan in others if spec.budget_ms < app.budget_ms or spec.priority > app.priority]
    left_ms = [spec.budget_ms - plan.latency_p95_ms if spec.percentile <= MEASURED else 0.0 for spec, plan in waiting]
    return max(0.0, min(left_ms, default=math.inf))


def rooms_ms(live: Sequence[tuple[LiveApp, AppPlan]], table: Table) -> dict[LiveApp, float]:
    """The room that each app has beside the others.

    0 where its blocks run in batches with those of another app of the model. Apps that see the same frames have the
    least room of any: what the blocks of one give is the other's only where both are merged alike (`serving.prefix`).
    """
    rooms = {app: _own_room_ms(app, planned, live, table) for app, planned in live}
    least: dict[Hashable, float] = {}
    for app, room in rooms.items():
        least[_sees(app)] = min(room, least.get(_sees(app), math.inf))
    return {app: least[_sees(app)] for app in rooms}


def _own_room_ms(app: LiveApp, planned: AppPlan, live: Iterable[tuple[LiveApp, AppPlan]], table: Table) -> float:
    others = [(other.spec, its) for other, its in live if other is not app]
    of_model = any(spec.model == app.spec.model for spec, _ in others)
    if of_model and any(table.batches_ms(table.row(digest)) for digest in planned.route.digests):
        return 0.0
    return room_ms(app.spec, others)


def _sees(app: LiveApp) -> Hashable:
    """Equal for apps that may share a stream; which one of their user's it is does not matter enough."""
    return (app.uid, app.spec.model, app.camera) if app.shares_stream else app


def steady(room_ms: float) -> float:
    """What is used of a room: half of it or less, in steps, so that it stands still while predictions tremble."""
    if room_ms in (0.0, math.inf):
        return room_ms
    return float(2.0 ** math.floor(math.log2(room_ms / 2)))


def runs_of(block_ms: Sequence[float], room_ms: float) -> tuple[Run, ...]:
    """The runs to merge, each of two blocks or more: as few stretches as the rule of this file allows.

    Args: block_ms: profiled median of each block; room_ms: as `room_ms` or `steady` gives it.
    """
    runs: list[Run] = []
    first = 0
    for end in range(1, len(block_ms) + 1):
        # Taking in a block for as long as it fits gives the fewest stretches.
        if end == len(block_ms) or not allowed(Run(first, end + 1), block_ms, room_ms):
            runs.append(Run(first, end))
            first = end
    return tuple(run for run in runs if run.end - run.first > 1)


def allowed(run: Run, block_ms: Sequence[float], room_ms: float) -> bool:
    """Whether a run may be one session now."""
    return sum(block_ms[run.first : run.end]) <= max(block_ms) + room_ms
