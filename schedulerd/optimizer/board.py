"""All apps together as arrays: what a selection of routes exceeds, and what each other route of one app would change.

Limits are given up by rank (`cost`), so what is compared is a row of excesses, the first rank first, and then what the
routes are worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schedulerd.optimizer.contention import Contention, contention_of
from schedulerd.optimizer.cost import MEMORY_RANK, POWER_RANK, TOLERANCE, UTILISATION_RANK, budget_rank, memory_scale
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.routes import Routes
from schedulerd.optimizer.tables import Bools, Floats, Ints, Table
from schedulerd.optimizer.worth import is_fair, worths


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A problem and, for each app, the routes to choose from."""

    problem: Problem
    tables: tuple[Table, ...]
    routes: tuple[Routes, ...]
    values: tuple[Floats, ...]
    """Of the routes, to be minimised."""
    shares: tuple[Floats, ...]
    """Of full accuracy that is lost; zeros where the worst app is not looked at."""
    blobs: tuple[Ints, ...]
    """For each app's shared blobs their numbers among those of all apps."""
    blob_bytes: Floats
    ranks: tuple[int, ...]
    """Of limits that may be exceeded, in order."""
    contention: Contention
    """The windows in which some selection could exceed a budget."""


def board_of(problem: Problem, tables: Sequence[Table], routes: Sequence[Routes]) -> Board:
    """The board on which each app has `routes`."""
    numbers: dict[str, int] = {}
    sizes: dict[str, float] = {}
    for table in tables:
        for digest, size_bytes in zip(table.shared, table.shared_bytes, strict=True):
            numbers.setdefault(digest, len(numbers))
            sizes[digest] = size_bytes
    ranks = tuple(sorted({MEMORY_RANK, UTILISATION_RANK, POWER_RANK, *map(budget_rank, problem.apps)}))
    full = [app.full_accuracy or 1.0 for app in problem.apps]
    fair = float(is_fair(problem))
    contention = contention_of([app.app for app in problem.apps], problem.limits.lanes)
    return Board(
        problem=problem,
        tables=tuple(tables),
        routes=tuple(routes),
        values=tuple(worth.of(r) for worth, r in zip(worths(problem), routes, strict=True)),
        shares=tuple(fair * r.loss / whole for r, whole in zip(routes, full, strict=True)),
        blobs=tuple(np.array([numbers[d] for d in table.shared], np.intp) for table in tables),
        blob_bytes=np.array(list(sizes.values()), np.float64),
        ranks=ranks,
        contention=contention.only(_may_bind(problem, routes, contention)),
    )


def _may_bind(problem: Problem, routes: Sequence[Routes], contention: Contention) -> Bools:
    """Of the windows, those in which some selection could exceed a budget."""
    medians_ms = np.array([r.median_ms.max() for r in routes])
    longest_ms = np.array([r.longest_ms.max() for r in routes])
    tails_ms = np.array([r.tail_ms.max() for r in routes])
    budgets_ms = np.array([app.app.budget_ms for app in problem.apps])
    room_ms = budgets_ms - tails_ms - problem.limits.overhead_ms
    return np.asarray(contention.waits_in_ms(medians_ms, longest_ms) > room_ms[contention.app])


class Selection:
    """One route for each app of a board. `alternatives` and `take` change one of them."""

    def __init__(self, board: Board, rows: Sequence[int]) -> None:
        self.board = board
        self.rows = [*rows]
        problem = board.problem
        self._rate = np.array([app.app.rate_hz for app in problem.apps], np.float64)
        self._budget_ms = np.array([app.app.budget_ms for app in problem.apps], np.float64)
        self._contention = board.contention
        self._present, self._start = np.unique(board.contention.app, return_index=True)
        ranks = [budget_rank(problem.apps[position]) for position in self._present]
        self._by_rank = np.array([[float(of == rank) for of in board.ranks] for rank in ranks]).reshape(
            -1, len(board.ranks)
        )
        """Apps whose budgets some selection exceeds."""
        self._gather()

    def _gather(self) -> None:
        """What the chosen routes take, by app."""
        chosen = list(zip(self.board.routes, self.rows, strict=True))
        self._median_ms = np.array([r.median_ms[row] for r, row in chosen])
        self._tail_ms = np.array([r.tail_ms[row] for r, row in chosen])
        self._longest_ms = np.array([r.longest_ms[row] for r, row in chosen])
        self._expected_ms = np.array([r.expected_ms[row] for r, row in chosen])
        self._energy_mj = np.array([r.energy_mj[row] for r, row in chosen])
        self._arena_bytes = np.array([r.arena_bytes[row] for r, row in chosen])
        self._own_bytes = np.array([r.own_bytes[row] for r, row in chosen])
        self._value = np.array([v[row] for v, row in zip(self.board.values, self.rows, strict=True)])
        self._share = np.array([s[row] for s, row in zip(self.board.shares, self.rows, strict=True)])
        self._ahead_ms = self._contention.ahead @ self._median_ms
        blocks_ms = np.where(self._contention.blockers, self._longest_ms, 0.0)
        windows = np.arange(len(blocks_ms))
        self._blocker = blocks_ms.argmax(axis=1)
        """[windows]: whose block is the longest that may be in the way."""
        self._block_ms = blocks_ms[windows, self._blocker]
        blocks_ms[windows, self._blocker] = 0.0
        self._other_block_ms = blocks_ms.max(axis=1, initial=0.0)
        """[windows]: the longest of the others."""
        self._users = np.zeros(len(self.board.blob_bytes), np.intp)
        for (routes, row), blobs in zip(chosen, self.board.blobs, strict=True):
            self._users[blobs] += routes.blobs[row]

    def figures(self) -> Floats:
        """Excess of each rank, the worst share, and the sum of values of the present rows."""
        return np.asarray(self.alternatives(0)[self.rows[0]])

    def alternatives(self, position: int) -> Floats:
        """[routes, figures]: as `figures`, for every route of one app while the others keep theirs."""
        board = self.board
        figures = np.zeros((len(board.routes[position]), len(board.ranks) + 2))
        figures[:, :-2] = _over(self._over_budget(position)).T @ self._by_rank
        for rank, _, share in self._shared_excesses(position):
            figures[:, board.ranks.index(rank)] += _over(share)
        figures[:, -2] = np.maximum(np.delete(self._share, position).max(initial=0.0), board.shares[position])
        figures[:, -1] = self._sum_with(position, self._value, board.values[position])
        return figures

    def excesses(self, position: int) -> list[tuple[str, Floats]]:
        """Names of limits, and for every route of one app by what share of it each is exceeded.

        Limits that no selection exceeds are left out; rounding is no excess.
        """
        shared = [(name, _over(share)) for _, name, share in self._shared_excesses(position)]
        names = [f"budget:{self.board.problem.apps[other].app.app_id}" for other in self._present]
        return [*shared, *zip(names, _over(self._over_budget(position)), strict=True)]

    def _shared_excesses(self, position: int) -> Iterator[tuple[int, str, Floats]]:
        """Rank and name of the limits of all apps together, and by what share every route of one exceeds them."""
        routes, limits = self.board.routes[position], self.board.problem.limits
        memory_bytes = self._memory_bytes(position, routes)
        yield MEMORY_RANK, "memory", (memory_bytes - limits.memory_bytes) / memory_scale(limits)
        busy = self._sum_with(position, self._rate * self._expected_ms, self._rate[position] * routes.expected_ms)
        yield UTILISATION_RANK, "utilisation", busy / (1000.0 * limits.lanes * limits.utilisation_cap) - 1.0
        if limits.power_cap_w is not None:
            drawn = self._sum_with(position, self._rate * self._energy_mj, self._rate[position] * routes.energy_mj)
            yield POWER_RANK, "power", drawn / (1000.0 * limits.power_cap_w) - 1.0

    @staticmethod
    def _sum_with(position: int, of_all: Floats, instead: Floats) -> Floats:
        return np.asarray(of_all.sum() - of_all[position] + instead)

    def _memory_bytes(self, position: int, routes: Routes) -> Floats:
        board = self.board
        blobs = board.blobs[position]
        others = self._users.copy()
        others[blobs] -= routes.blobs[self.rows[position]]
        resident_bytes = board.blob_bytes[others > 0].sum()
        needed_bytes = np.where(others[blobs] > 0, 0.0, board.blob_bytes[blobs])
        arenas_bytes = np.delete(self._arena_bytes, position).max(initial=0.0)
        arena_bytes = board.problem.limits.lanes * np.maximum(arenas_bytes, routes.arena_bytes)
        own_bytes = self._sum_with(position, self._own_bytes, routes.own_bytes)
        return np.asarray(own_bytes + resident_bytes + routes.blobs @ needed_bytes + arena_bytes)

    def _over_budget(self, position: int) -> Floats:
        """[apps that may miss, routes]: by what share of it each budget is exceeded."""
        windows, routes = self._contention, self.board.routes[position]
        if not len(self._present):
            return np.zeros((0, len(routes)))
        ahead = windows.ahead[:, position]
        others_ms = self._ahead_ms - ahead * self._median_ms[position] - windows.elapsed_ms
        blocks_ms = np.where(self._blocker == position, self._other_block_ms, self._block_ms)
        own_blocks_ms = np.where(windows.blockers[:, position, None], routes.longest_ms, 0.0)
        wait_ms = np.maximum(blocks_ms[:, None], own_blocks_ms)
        wait_ms += ahead[:, None] * routes.median_ms
        wait_ms += others_ms[:, None]
        total_ms = np.maximum.reduceat(wait_ms, self._start, axis=0) + self.board.problem.limits.overhead_ms
        total_ms += self._tail_ms[self._present, None]
        own = np.flatnonzero(self._present == position)
        total_ms[own] += routes.tail_ms - self._tail_ms[position]
        return np.asarray(total_ms / self._budget_ms[self._present, None] - 1.0)

    def take(self, position: int, row: int) -> None:
        """From now on the app at `position` runs this route."""
        self.rows[position] = row
        self._gather()


def _over(shares: Floats) -> Floats:
    """Without what is no excess but rounding."""
    return np.asarray(np.where(shares < TOLERANCE, 0.0, shares))
