"""The integer program over all apps: a binary per route, rows named after the limits, minimised in stages.

Formulation after LegoDNN (MobiCom'21), which chooses one descendant per block of one network under limits on latency
and memory; here over whole routes of all apps in one program, with equal blobs counted once and with the waits for
other apps. Rows that bind for no choice are left out, with what only they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pulp

from schedulerd.optimizer.board import Board
from schedulerd.optimizer.contention import Window
from schedulerd.optimizer.cost import MEMORY_RANK, POWER_RANK, UTILISATION_RANK, budget_rank, memory_scale
from schedulerd.optimizer.tables import Floats

Terms = list[tuple[pulp.LpVariable, float]]

VALUE_SCALE: Final = 1e3
"""Values are minimised in thousandths, so that the tie-break stands above the solvers' tolerances."""
_ROOM: Final = 1e-8
"""Room above what is held, for the last digits of its sum."""


class Program:
    """PuLP's problem and its variables, which hold the solution of the run before.

    Args:
        board: what there is to choose from.
        elastic: whether limits may be exceeded by a slack. `minimise_excess` and `hold_excess` bring slacks down rank
            by rank; `minimise_worst`, `hold_worst` and `minimise_value` come after them.
    """

    def __init__(self, board: Board, *, elastic: bool) -> None:
        self.lp = pulp.LpProblem("plan", pulp.LpMinimize)
        self.slacks: dict[int, list[pulp.LpVariable]] = {}
        """By rank: by how much the limits of that rank are exceeded."""
        self._board = board
        self._limits = board.problem.limits
        self._elastic = elastic
        self._takes = [
            [self.lp.add_variable(f"take_{a}_{row}", 0, 1, pulp.LpInteger) for row in range(len(routes))]
            for a, routes in enumerate(board.routes)
        ]
        self._totals: dict[tuple[str, int], pulp.LpVariable] = {}
        self._blocks: dict[tuple[int, ...], pulp.LpVariable] = {}
        self._held: dict[int, pulp.LpConstraint] = {}
        self._worst: pulp.LpVariable | None = None
        for a, takes in enumerate(self._takes):
            self._row([(take, 1.0) for take in takes], pulp.LpConstraintEQ, 1.0, f"one_of:{a}")
        self._add_memory()
        self._add_rates(
            UTILISATION_RANK, "utilisation", "expected_ms", self._limits.lanes * self._limits.utilisation_cap
        )
        if self._limits.power_cap_w is not None:
            self._add_rates(POWER_RANK, "power", "energy_mj", self._limits.power_cap_w)
        self._add_budgets()

    # What the routes that are taken come to.

    def _of(self, a: int, name: str) -> Floats:
        """One figure of the routes of app `a`."""
        return np.asarray(getattr(self._board.routes[a], name))

    def _terms(self, a: int, figures: Floats) -> Terms:
        return [(take, float(figure)) for take, figure in zip(self._takes[a], figures, strict=True) if figure]

    def _total(self, a: int, name: str) -> pulp.LpVariable:
        """A variable that is at least one figure of the route that app `a` takes."""
        if (name, a) not in self._totals:
            total = self._totals[name, a] = self.lp.add_variable(f"{name}_{a}", 0)
            self._at_most([*self._terms(a, self._of(a, name)), (total, -1.0)], 0.0, f"{name}:{a}")
        return self._totals[name, a]

    def _block_of(self, blockers: tuple[int, ...]) -> Terms:
        """The longest block of any of these apps."""
        if len(blockers) < 2:
            return [(self._total(a, "longest_ms"), 1.0) for a in blockers]
        if blockers not in self._blocks:
            block = self._blocks[blockers] = self.lp.add_variable(f"block_{len(self._blocks)}", 0)
            for a in blockers:
                self._at_most([(self._total(a, "longest_ms"), 1.0), (block, -1.0)], 0.0, f"{block.name}:{a}")
        return [(self._blocks[blockers], 1.0)]

    # Limits.

    def _add_memory(self) -> None:
        """Bytes of the blobs that run and of their activations, relative to the limit."""
        limit, scale = self._limits.memory_bytes, memory_scale(self._limits)
        apps = range(len(self._takes))
        blobs_bytes = sum(self._board.blob_bytes)
        arenas_bytes = max((self._of(a, "arena_bytes").max() for a in apps), default=0.0)
        own_bytes = sum(self._of(a, "own_bytes").max() for a in apps)
        if blobs_bytes + own_bytes + self._limits.lanes * arenas_bytes <= limit:
            return
        arena = self.lp.add_variable("arena", 0)
        use: Terms = [(arena, float(self._limits.lanes))]
        for a in apps:
            use += self._terms(a, self._of(a, "own_bytes") / scale)
            self._at_most([*self._terms(a, self._of(a, "arena_bytes") / scale), (arena, -1.0)], 0.0, f"arena:{a}")
        use += [(resident, self._board.blob_bytes[number] / scale) for number, resident in self._residents().items()]
        self._limit(use, limit / scale, "memory", MEMORY_RANK)

    def _residents(self) -> Mapping[int, pulp.LpVariable]:
        """By number a variable for each shared blob: continuous is enough, the binaries pull it up to 1."""
        found: dict[int, pulp.LpVariable] = {}
        for a, numbers in enumerate(self._board.blobs):
            loaded = self._of(a, "blobs")
            for place, number in enumerate(numbers):
                loading = self._terms(a, loaded[:, place].astype(np.float64))
                if loading:
                    if number not in found:
                        found[number] = self.lp.add_variable(f"resident_{number}", 0, 1)
                    self._at_most([*loading, (found[number], -1.0)], 0.0, f"resident:{number}:{a}")
        return found

    def _add_rates(self, rank: int, name: str, figure: str, limit: float) -> None:
        """What a frame takes times the frames of a second, over all apps, relative to a limit."""
        factors = [app.app.rate_hz / 1000.0 / limit for app in self._board.problem.apps]
        shares = [factor * self._of(a, figure) for a, factor in enumerate(factors)]
        if sum(share.max() for share in shares) > 1.0:
            terms = [term for a, share in enumerate(shares) for term in self._terms(a, share)]
            self._limit(terms, 1.0, name, rank)

    def _add_budgets(self) -> None:
        """Each app's percentile relative to its budget: own blocks, overhead, and the wait in every window."""
        windows = self._board.contention.windows()
        for a, app in enumerate(self._board.problem.apps):
            if windows[a]:
                name, budget_ms = f"budget:{app.app.app_id}", app.app.budget_ms
                over = self._over(name, budget_rank(app))
                own = [(self._total(a, "tail_ms"), 1.0 / budget_ms), *over]
                for number, window in enumerate(windows[a]):
                    waits = [(wait, times / budget_ms) for wait, times in self._wait_in(window)]
                    allowed = 1.0 + (window.elapsed_ms - self._limits.overhead_ms) / budget_ms
                    self._at_most([*own, *waits], allowed, f"{name}:{number}")

    def _wait_in(self, window: Window) -> Terms:
        """The requests that come before one of a window, and the block in its way; `elapsed_ms` goes to the limit."""
        ahead = [(self._total(a, "median_ms"), requests) for a, requests in window.ahead]
        return [*ahead, *self._block_of(window.blockers)]

    def _limit(self, terms: Terms, limit: float, name: str, rank: int) -> None:
        self._at_most([*terms, *self._over(name, rank)], limit, name)

    def _over(self, name: str, rank: int) -> Terms:
        """The slack of a limit, taken off what is held against it."""
        if not self._elastic:
            return []
        slack = self.lp.add_variable(f"over_{name}", 0)
        self.slacks.setdefault(rank, []).append(slack)
        return [(slack, -1.0)]

    def _at_most(self, terms: Terms, limit: float, name: str) -> pulp.LpConstraint:
        return self._row(terms, pulp.LpConstraintLE, limit, name)

    def _row(self, terms: Terms, sense: int, limit: float, name: str) -> pulp.LpConstraint:
        row = pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, name, limit)
        self.lp.addConstraint(row)
        return row

    # Objectives, in the order in which they are minimised.

    def minimise_excess(self, rank: int) -> None:
        """By how much the limits of one rank are exceeded together, each as a share of itself."""
        self.lp.setObjective(pulp.LpAffineExpression([(slack, 1.0) for slack in self.slacks[rank]]))

    def hold_excess(self, rank: int, reached: float) -> None:
        """From now on the limits of this rank are not exceeded further than that."""
        terms = [(slack, 1.0) for slack in self.slacks[rank]]
        if rank in self._held:
            self._held[rank].changeRHS(reached + _ROOM)
        else:
            self._held[rank] = self._at_most(terms, reached + _ROOM, f"held:{rank}")

    def minimise_worst(self) -> None:
        """The largest share of full accuracy that an app loses."""
        self._worst = self.lp.add_variable("worst", 0)
        for a, shares in enumerate(self._board.shares):
            self._at_most([*self._terms(a, shares), (self._worst, -1.0)], 0.0, f"worst:{a}")
        self.lp.setObjective(pulp.LpAffineExpression([(self._worst, 1.0)]))

    def hold_worst(self, reached: float) -> None:
        """From now on nobody loses more than that."""
        assert self._worst is not None
        self._at_most([(self._worst, 1.0)], reached + _ROOM, "held:worst")

    def minimise_value(self) -> None:
        """What the routes are worth under the objective, in thousandths."""
        terms = [
            (take, VALUE_SCALE * float(value))
            for a, values in enumerate(self._board.values)
            for take, value in zip(self._takes[a], values, strict=True)
        ]
        self.lp.setObjective(pulp.LpAffineExpression(terms))

    # Reading.

    def begin_with(self, chosen: Sequence[int]) -> None:
        """Tell the solver a selection."""
        for takes, row in zip(self._takes, chosen, strict=True):
            for number, take in enumerate(takes):
                take.setInitialValue(int(number == row))

    def solution(self) -> list[int]:
        """The row of the board that each app takes."""
        return [int(np.argmax([take.varValue or 0.0 for take in takes])) for takes in self._takes]
