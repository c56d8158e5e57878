"""Good selections quickly: one app after the other takes its best route while the others keep theirs.

Where to begin matters more than how to go on. Prices of what is short make every app's choice its own; at the prices of
the relaxed program hardly a limit is exceeded, and a factor on them, found by bisection, keeps those that are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from schedulerd.optimizer.board import Board, Selection
from schedulerd.optimizer.cost import TOLERANCE
from schedulerd.optimizer.tables import Floats

_SWEEPS = 12
"""Rounds over all apps, at most: later ones change next to nothing."""
_HALVINGS = 10
"""Of the factor on the prices."""
_STEEPEST = 64.0
"""Factor on the prices at which accuracy hardly counts any more."""
_WORK = 60_000_000
"""Routes times windows that are looked at over and over: less than a second."""
_REPAIRS = 16
"""Steps that bring down an excess."""
_EXCESS_PRICE = 10.0
"""What a whole limit's excess counts in units of value."""
_FREE = 1e-9
"""Least price of a step, so that free ones can be compared."""
_TRIALS = 8
"""Other routes that an app is made to take."""
_FEW_APPS = 24
"""Apps for each of which one other route is tried at least."""
_SHAKES = 32
"""Apps squared times trials, at most: what bounds the time."""
_BARE = 1e-5
"""How much more than at least may be exceeded without looking further: the rounding of several stages."""
_FIGURE_TOLERANCE = 1e-9


def better(one: Floats, other: Floats) -> bool:
    """Whether the figures `one` come before `other`: the first that differs by more than rounding decides."""
    differs = np.flatnonzero(np.abs(one - other) > _tolerances(one))
    return len(differs) > 0 and bool(one[differs[0]] < other[differs[0]])


def _tolerances(figures: Floats) -> Floats:
    """Excesses are equal where a solver would call them so; shares and values nearly exactly."""
    tolerances = np.full(figures.shape[-1], TOLERANCE)
    tolerances[-2:] = _FIGURE_TOLERANCE
    return tolerances


def best_row(figures: Floats) -> int:
    """The row of [rows, figures] that comes first."""
    left = np.arange(len(figures))
    for column, tolerance in enumerate(_tolerances(figures)):
        values = figures[left, column]
        left = left[values <= values.min() + tolerance]
    return int(left[0])


def improved(selection: Selection) -> Floats:
    """Let every app take its best route until none gains; the figures that were reached."""
    figures = repaired(selection)
    for _ in range(_rounds(selection, _SWEEPS)):
        before = figures
        for position in range(len(selection.rows)):
            found = selection.alternatives(position)
            row = best_row(found)
            if better(found[row], figures):
                selection.take(position, row)
                figures = found[row]
        if not better(figures, before):
            break
    return figures


def repaired(selection: Selection) -> Floats:
    """Bring down what is exceeded, each time by the route that does it at the least cost; the figures afterwards.

    An app that simply took its own best route would pay for all by itself.
    """
    figures = selection.figures()
    for _ in range(_rounds(selection, _REPAIRS)):
        over = np.flatnonzero(figures[:-2] > TOLERANCE)
        if not len(over):
            break
        best: tuple[float, int, int, Floats] | None = None
        for position in range(len(selection.rows)):
            found = selection.alternatives(position)
            row, price = _cheapest_relief(found, figures, int(over[0]))
            if price < np.inf and (best is None or price < best[0]):
                best = price, position, row, found[row]
        if best is None:
            break
        _, position, row, figures = best
        selection.take(position, row)
    return figures


def _rounds(selection: Selection, most: int) -> int:
    """So many rounds over all apps, fewer where they are many and wait for many."""
    board = selection.board
    work = len(board.contention.app) * sum(map(len, board.routes))
    return max(1, min(most, _WORK // max(1, work)))


def _cheapest_relief(found: Floats, figures: Floats, rank: int) -> tuple[int, float]:
    """The row that lowers the excess of a rank, but not at the cost of one before, for the least value; and its price.

    What is behind in order counts too, so that relief in one place is not bought by excess in another.
    """
    relief = figures[rank] - found[:, rank]
    harmless = (found[:, :rank] <= figures[:rank] + TOLERANCE).all(axis=1)
    behind = found[:, rank + 1 : -2].sum(axis=1) - figures[rank + 1 : -2].sum()
    lost = np.maximum(found[:, -1] - figures[-1], 0.0) + _EXCESS_PRICE * np.maximum(behind, 0.0)
    useful = harmless & (relief > TOLERANCE)
    prices = np.divide(lost + _FREE, relief, out=np.full(len(found), np.inf), where=useful)
    row = int(np.argmin(prices))
    return row, float(prices[row])


def search(
    board: Board,
    pressures: Sequence[Floats],
    known: Sequence[Sequence[int]],
    fallback: Sequence[int],
    least: Mapping[int, float],
) -> Selection:
    """The best selection that is found.

    Args:
        board: what to choose from.
        pressures: for each app, [routes]: what each route takes of what is short, at its price, in units of value.
        known: selections to begin with, such as the rounded relaxation and what runs now.
        fallback: one that exceeds limits little, in case the others do.
        least: by rank how much is exceeded at least; ranks that are absent need not be.
    """
    if len(board.routes) == 1:
        # An app alone takes its best route at once.
        alone = Selection(board, fallback)
        improved(alone)
        return alone
    bare = np.array([least.get(rank, 0.0) for rank in board.ranks]) + _BARE
    best: Selection | None = None
    figures = np.zeros(0)
    # The last two take time, and are for what the known ones do not get under.
    for number in range(len(known) + 2):
        if number >= len(known) and best is not None and (figures[:-2] <= bare).all():
            break
        start = _start(board, pressures, known, fallback, number)
        found = improved(start)
        if best is None or better(found, figures):
            best, figures = start, found
    assert best is not None
    return best


def _start(
    board: Board, pressures: Sequence[Floats], known: Sequence[Sequence[int]], fallback: Sequence[int], number: int
) -> Selection:
    """Where to begin: with what is known, then at prices, then with the fallback."""
    if number < len(known):
        return Selection(board, known[number])
    return _priced_start(board, pressures) if number == len(known) else Selection(board, fallback)


def shaken(selection: Selection, pressures: Sequence[Floats]) -> Selection:
    """A better selection, if there is one after one app at a time has been made to take another route.

    The others make the best of it: what no app gains alone. Arguments as of `search`.
    """
    board, figures = selection.board, selection.figures()
    apps = len(selection.rows)
    trials = max(apps <= _FEW_APPS, min(_TRIALS, _SHAKES // (apps * apps)))
    for position in range(apps):
        priced = board.values[position] + pressures[position]
        for row in np.argsort(priced, kind="stable")[:trials]:
            if row == selection.rows[position]:
                continue
            rows = [*selection.rows]
            rows[position] = int(row)
            tried = Selection(board, rows)
            found = _answered(tried, position)
            if better(found, figures):
                selection, figures = tried, improved(tried)
    return selection


def _answered(selection: Selection, position: int) -> Floats:
    """One round of best routes of the others, and then of the app at `position`."""
    figures = selection.figures()
    apps = len(selection.rows)
    for step in range(1, apps + 1):
        other = (position + step) % apps
        found = selection.alternatives(other)
        row = best_row(found)
        if better(found[row], figures):
            selection.take(other, row)
            figures = found[row]
    return figures


def _priced_start(board: Board, pressures: Sequence[Floats]) -> Selection:
    """At the least factor on the prices that exceeds no limit further than the steepest one does."""

    def at(factor: float) -> Selection:
        pairs = zip(board.values, pressures, strict=True)
        return Selection(board, [int(np.argmin(value + factor * pressure)) for value, pressure in pairs])

    low, high = 0.0, _STEEPEST
    best = at(high)
    least = best.figures()[:-2]
    for halving in range(_HALVINGS):
        factor = 1.0 if halving == 0 else (low + high) / 2
        tried = at(factor)
        if (tried.figures()[:-2] > least + TOLERANCE).any():
            low = factor
        else:
            best, high = tried, factor
    return best
