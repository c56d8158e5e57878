"""The rows of limits that all apps share: utilisation, power and memory, each relative to its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from schedulerd.optimizer.cost import MEMORY_RANK, POWER_RANK, UTILISATION_RANK, memory_scale
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.sparse import GrowingProgram
from schedulerd.optimizer.tables import Floats, Ints, Table

_INF = float("inf")


class SharedLimits:
    """Adds them to a program whose apps have their columns."""

    def __init__(
        self,
        lp: GrowingProgram,
        problem: Problem,
        tables: Sequence[Table],
        takes: Sequence[Ints],
        policies: Sequence[Ints],
        slack_of: Callable[[int], int],
    ) -> None:
        """Args as the attributes of `LinearProgram`; slack_of: the column by which the limit of a rank is exceeded."""
        self._lp = lp
        self._problem = problem
        self._tables = tables
        self._takes = takes
        self._policies = policies
        self._slack_of = slack_of

    def add_sums(self) -> None:
        """Utilisation and power, each relative to its limit."""
        limits, apps = self._problem.limits, self._problem.apps
        rates = np.array([app.app.rate_hz for app in apps])
        busy = [(t.median_ms + t.heads_ms[:, :, None]) * t.reach[:, :, None] for t in self._tables]
        self._add_sum(UTILISATION_RANK, busy, rates / (1000.0 * limits.lanes * limits.utilisation_cap))
        if limits.power_cap_w is not None:
            drawn = [(t.energy_mj + t.heads_mj[:, :, None]) * t.reach[:, :, None] for t in self._tables]
            self._add_sum(POWER_RANK, drawn, rates / (1000.0 * limits.power_cap_w))

    def _add_sum(self, rank: int, values: Sequence[Floats], factors: Floats) -> None:
        used = [np.broadcast_to(v, t.shape)[t >= 0] for v, t in zip(values, self._takes, strict=True)]
        columns = [takes[takes >= 0] for takes in self._takes]
        shares = [factor * u for factor, u in zip(factors, used, strict=True)]
        slack = self._slack_of(rank)
        terms = [*np.concatenate(shares).tolist(), -1.0]
        self._lp.row([*np.concatenate(columns).tolist(), slack], terms, -_INF, 1.0)

    def add_memory(self) -> None:
        """Blobs, of which a shared one has a column, and the one arena of activations; relative to the limit."""
        limits, scale = self._problem.limits, memory_scale(self._problem.limits)
        if self._most_bytes() <= limits.memory_bytes:
            return
        arena = self._lp.column()
        residents: dict[str, int] = {}
        columns, bytes_ = [np.array([arena])], [np.array([limits.lanes * scale])]
        for position, table in enumerate(self._tables):
            takes, policies = self._takes[position], self._policies[position]
            for digest in table.shared:
                if digest not in residents:
                    residents[digest] = self._lp.column(upper=1.0)
            columns += [takes[takes >= 0], policies]
            bytes_ += [np.broadcast_to(table.own_bytes, takes.shape)[takes >= 0], table.heads_own_bytes]
            self._add_loads(table, takes, policies, [residents[digest] for digest in table.shared])
            self._add_arenas(table, takes, policies, arena, scale)
        sizes = {d: size for t in self._tables for d, size in zip(t.shared, t.shared_bytes, strict=True)}
        columns.append(np.array(list(residents.values()), np.intp))
        bytes_.append(np.array([sizes[digest] for digest in residents]))
        columns.append(np.array([self._slack_of(MEMORY_RANK)]))
        bytes_.append(np.array([-scale]))
        terms = (np.concatenate(bytes_) / scale).tolist()
        self._lp.row(np.concatenate(columns).tolist(), terms, -_INF, limits.memory_bytes / scale)

    def _most_bytes(self) -> float:
        """What no selection exceeds."""
        blobs = {d: size for t in self._tables for d, size in zip(t.shared, t.shared_bytes, strict=True)}
        own = sum(t.own_bytes.max(axis=1).sum() + t.heads_own_bytes.max() for t in self._tables)
        arenas = [max(t.arena_bytes.max(), t.heads_arena_bytes.max()) for t in self._tables]
        return float(sum(blobs.values()) + own + self._problem.limits.lanes * max(arenas, default=0.0))

    def _add_loads(self, table: Table, takes: Ints, policies: Ints, residents: Sequence[int]) -> None:
        """A shared blob is resident as far as any block takes it, or any policy that loads it as a head."""
        for block in range(table.blocks):
            loading: dict[int, list[int]] = {}
            for row in takes[:, block].tolist():
                for column, number in zip(row, table.blob[block].tolist(), strict=True):
                    if column >= 0 and number >= 0:
                        loading.setdefault(number, []).append(column)
            for number, columns in loading.items():
                self._lp.row([*columns, residents[number]], [*[1.0] * len(columns), -1.0], -_INF, 0.0)
        for number in np.flatnonzero(table.heads_blobs.any(axis=0)):
            columns = policies[table.heads_blobs[:, number]].tolist()
            self._lp.row([*columns, residents[int(number)]], [*[1.0] * len(columns), -1.0], -_INF, 0.0)

    def _add_arenas(self, table: Table, takes: Ints, policies: Ints, arena: int, scale: float) -> None:
        for block in range(table.blocks):
            places = takes[:, block] >= 0
            columns = takes[:, block][places]
            needs = np.broadcast_to(table.arena_bytes[block], places.shape)[places] / scale
            self._lp.row([*columns.tolist(), arena], [*needs.tolist(), -1.0], -_INF, 0.0)
        if table.heads_arena_bytes.any():
            needs = table.heads_arena_bytes / scale
            self._lp.row([*policies.tolist(), arena], [*needs.tolist(), -1.0], -_INF, 0.0)
