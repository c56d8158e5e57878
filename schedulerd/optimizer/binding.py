"""Which limits stand in the way of a better plan: those that are broken, and those that any app's next step breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from schedulerd.optimizer.board import Selection, board_of
from schedulerd.optimizer.choice import Choice
from schedulerd.optimizer.cost import TOLERANCE
from schedulerd.optimizer.routes import Routes, routes_of
from schedulerd.optimizer.tables import Bools, Ints, Table
from schedulerd.plan import Excess

_NEAR = 1e-12
"""Accuracies this close are equal."""


def binding_limits(choice: Choice, broken: Sequence[Excess], tables: Sequence[Table]) -> tuple[str, ...]:
    """Limits that are broken, that forbid some app its next better option or policy, and floors that hold one up.

    Args: choice; broken: the limits that it breaks; tables: of its apps, with every option.
    """
    problem = choice.problem
    if not problem.apps:
        return ()
    steps = [_steps(table, choice, position) for position, table in enumerate(tables)]
    better = [_next_better(routes, changed) for routes, changed in steps]
    offered = [routes.take(np.append(0, rows)) for (routes, _), rows in zip(steps, better, strict=True)]
    selection = Selection(board_of(problem, tables, offered), [0] * len(tables))
    names = {e.limit for e in broken}
    for position in range(len(tables)):
        names.update(_forbidding(selection, position))
    pressed = names & {"memory", "utilisation", "power"}
    for position, app in enumerate(problem.apps):
        wanted = app.app.accuracy_floor > choice.floors[position] + TOLERANCE
        if wanted or (
            (pressed or f"budget:{app.app.app_id}" in names) and _held_up(steps[position][0], tables[position])
        ):
            names.add(f"floor:{app.app.app_id}")
    order = {"memory": 0, "utilisation": 1, "power": 2}
    return tuple(sorted(names, key=lambda name: (order.get(name, 3), name)))


def _steps(table: Table, choice: Choice, position: int) -> tuple[Routes, Ints]:
    """The present route, then all that differ in one block or in the policy; which block that is, or -1."""
    present, policy = np.array(choice.picks[position], np.intp), choice.policies[position]
    offered = np.arange(table.index.shape[1]) < table.counts[:, None]
    offered[np.arange(table.blocks), present] = False
    offered[int(table.depth[policy]) :] = False
    blocks, places = np.nonzero(offered)
    others = np.delete(np.arange(len(table.numbers)), policy)
    picks = np.tile(present, (1 + len(blocks) + len(others), 1))
    picks[np.arange(1, 1 + len(blocks)), blocks] = places
    policies = np.concatenate([np.full(1 + len(blocks), policy), others])
    changed = np.concatenate([[-2], blocks, np.full(len(others), -1)])
    return routes_of(table, policies.astype(np.intp), picks), changed.astype(np.intp)


def _next_better(routes: Routes, changed: Ints) -> Ints:
    """Rows of the steps to the next more accurate option of each block, and to the next more accurate policy."""
    found = []
    more = routes.loss < routes.loss[0] - _NEAR
    for place in np.unique(changed[1:]):
        rows = np.flatnonzero(more & (changed == place))
        if len(rows):
            order = np.lexsort((rows, routes.expected_ms[rows], -routes.loss[rows]))
            found.append(int(rows[order[0]]))
    return np.array(found, np.intp)


def _forbidding(selection: Selection, position: int) -> Iterator[str]:
    """Limits that one of the app's other routes would break, or break further."""
    for name, shares in selection.excesses(position):
        if (shares > shares[0] + TOLERANCE).any():
            yield name


def _held_up(routes: Routes, table: Table) -> bool:
    """Whether an app has less accurate, cheaper steps and its floor forbids every one."""
    allowed = table.allowed_loss() + TOLERANCE
    blobs_bytes = routes.own_bytes + routes.blobs @ table.shared_bytes
    taken = np.column_stack([routes.tail_ms, routes.expected_ms, blobs_bytes, routes.arena_bytes, routes.energy_mj])
    cheaper: Bools = (taken < taken[0]).any(axis=1)
    down = cheaper & (routes.loss > routes.loss[0] + _NEAR)
    return bool(down.any()) and bool((routes.loss[down] > allowed).all())
