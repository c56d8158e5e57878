"""Which neighbouring blocks of a route may be merged into one session. Pure.

A lane looks at the queue between blocks, so a merged run is a stretch on which nobody overtakes. An app that has the
board to itself keeps nobody waiting; beside others no run may take longer than the longest block of its route does, for
that is how long the plan lets others wait at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blockprofiles.record import Row
from blockstore.exits import NO_EXITS
from schedulerd.merging.verdict import Run
from schedulerd.plan import Route

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


def runs_of(block_ms: Sequence[float], *, alone: bool) -> tuple[Run, ...]:
    """The runs to merge, each of two blocks or more: as few stretches as the rule of this file allows.

    Args: block_ms: profiled median of each block; alone: whether the app has the board to itself.
    """
    runs: list[Run] = []
    first = 0
    for end in range(1, len(block_ms) + 1):
        # Taking in a block for as long as it fits gives the fewest stretches.
        if end == len(block_ms) or not allowed(Run(first, end + 1), block_ms, alone=alone):
            runs.append(Run(first, end))
            first = end
    return tuple(run for run in runs if run.end - run.first > 1)


def allowed(run: Run, block_ms: Sequence[float], *, alone: bool) -> bool:
    """Whether a run may be one session now."""
    return alone or sum(block_ms[run.first : run.end]) <= max(block_ms)
