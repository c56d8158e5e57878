"""Measure what the variants and exits of models cost on this device, within a time budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from blockprofiles.bench import Bench, Engine, Key, Setting, random_frame, set_up
from blockprofiles.conditions import Conditions, conditions_here
from blockprofiles.effort import Effort
from blockprofiles.listener import Listener
from blockprofiles.record import MEASURED, Row
from blockprofiles.rounds import BUSY
from blockprofiles.table import Table, Unusable
from blockprofiles.timing import Way, rows_of
from blockstore.block import Model

WIDE_SPREAD: Final = 1.5
"""95th percentile over median of warm times. On a quiet board it is 1.05 to 1.3."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of measuring: rows, and what could not be measured."""

    rows: tuple[Row, ...]
    unusable: tuple[Unusable, ...] = ()
    faults: tuple[str, ...] = ()
    """In words, whatever was left out: also blobs that are usable otherwise."""


def measure(
    models: Sequence[Model],
    engines: Sequence[Engine],
    path_of: Callable[[str], Path],
    *,
    effort: Effort,
    budget_s: float | None,
    now: Callable[[], float],
    listener: Listener,
    table: Table | None = None,
    only: Collection[str] | None = None,
    batches: Sequence[int] = (1,),
    conditions: Conditions | None = None,
) -> Measurement:
    """Rows of all variants and exits of `models`, on each of `engines` that runs them.

    One model is in memory at a time. A variant or an exit that fails is left out and told. Rounds that were timed while
    other programs were at work are done again, within bounds; what those took is told by `Row.others`.

    Args:
        models: what is measured.
        engines: the first is the main one, which also runs the exits; the others take and give its tensors.
        path_of: gives the verified file of a digest.
        effort: when enough has been measured.
        budget_s: shared among the models, loading included; overrun where the least number of rounds takes longer, by
            about `Effort.overrun_s` at most: models that are not begun by then have no rows. None: until the effort is
            satisfied.
        now: counts seconds.
        listener: is told how it goes.
        table: what is known. Measured and complete rows are not measured again; with the samples of incomplete ones it
            goes on; unusable blobs are left alone.
        only: digests to measure; None for all.
        batches: frames in one run. Exits are only run on one.
        conditions: of the board; None for those of this one.
    """
    known = {_key(row): row for row in table.rows if row.source == MEASURED} if table else {}
    unusable = {u.digest for u in table.unusable} if table else set()
    rows: dict[tuple[Key, int], Row] = {}

    def finished(key: Key, batch: int) -> bool:
        return (key, batch) in rows or ((row := known.get((key, batch))) is not None and row.complete)

    plan = _Shares(now, budget_s, listener, len(models) * len(batches))
    setting = Setting(
        engines=engines,
        path_of=path_of,
        wanted=lambda key: (
            (only is None or key.digest in only)
            and not all(finished(key, b) for b in batches)
            and not (rows and plan.overrun(effort.overrun_s))
        ),
        unusable=unusable.__contains__,
        listener=listener,
    )
    way = Way(effort, now, listener, conditions or conditions_here(now))
    for model in models:
        bench = set_up(model, setting)
        unusable.update(u.digest for u in setting.found_unusable)
        for batch in batches:
            end_s = plan.next_end_s()
            if bench is not None:
                try:
                    found = rows_of(
                        _with(bench, model, engines[0], batch), batch, _of(known, batch), way, end_s, plan.tell
                    )
                except Exception as error:  # an engine's errors are its own
                    setting.faults.append(f"{model.name}: batches of {batch} are left out: {error}")
                    found = ()
                rows |= {_key(row): row for row in found}
            plan.ended()
    return Measurement(tuple(rows.values()), tuple(setting.found_unusable), tuple(setting.faults))


def disturbed(rows: Sequence[Row]) -> bool:
    """Whether other programs were at work: the kernel says so, or many rows have a wide spread."""
    busy = sum(row.others is not None and row.others > BUSY for row in rows)
    wide = sum(
        float(np.percentile(row.samples_ms, 95)) > WIDE_SPREAD * row.latency_ms for row in rows if row.samples_ms
    )
    return max(busy, wide) > len(rows) / 4


class _Shares:
    """The time and the progress of `count` parts of a measurement, one after the other."""

    def __init__(self, now: Callable[[], float], budget_s: float | None, listener: Listener, count: int) -> None:
        self._now, self._listener, self._count = now, listener, count
        self._began_s = now()
        self._end_s = None if budget_s is None else self._began_s + budget_s
        self._number = 0

    def next_end_s(self) -> float | None:
        """When the part that begins now is to end: what is left is shared evenly."""
        now_s = self._now()
        return None if self._end_s is None else now_s + (self._end_s - now_s) / (self._count - self._number)

    def overrun(self, by_s: float | None) -> bool:
        """Whether the time has been up for so long; never where there is no such limit."""
        return by_s is not None and self._end_s is not None and self._now() >= self._end_s + by_s

    def ended(self) -> None:
        """The next part begins."""
        self._number += 1
        self._tell(self._number / self._count)

    def tell(self, share: float) -> None:
        """So much of the present part is done."""
        self._tell((self._number + share) / self._count)

    def _tell(self, share: float) -> None:
        """The time left is as it went so far, and not more than there is."""
        now_s = self._now()
        left_s = (now_s - self._began_s) * (1 - share) / share if share > 0 else None
        if left_s is not None and self._end_s is not None:
            left_s = min(left_s, max(0.0, self._end_s - now_s))
        self._listener.progress(share, left_s)


def _key(row: Row) -> tuple[Key, int]:
    return Key(row.digest, row.engine, row.threads), row.batch


def _of(known: dict[tuple[Key, int], Row], batch: int) -> dict[Key, Row]:
    return {key: row for (key, of), row in known.items() if of == batch}


def _with(bench: Bench, model: Model, engine: Engine, batch: int) -> Bench:
    """The bench for batches of `batch` frames."""
    if batch == 1:
        return bench
    frames = np.repeat(random_frame(model.input), batch, axis=0)
    return replace(bench, frame=engine.feed(frames), heads=())
