"""What a profile still has to measure, as the effort asks: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from blockprofiles.bench import Engine
from blockprofiles.contention import Contention
from blockprofiles.effort import Effort
from blockprofiles.record import MEASURED, Row
from blockprofiles.table import Table
from blockstore.block import Artifact, Model

Candidate = tuple[str, str, int, int]
"""What is timed: digest, name of the engine, its threads, frames in one run."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is left; false when that is nothing."""

    candidates: frozenset[Candidate]
    contention: bool
    """Whether the curves of what company does are to be measured."""

    def __bool__(self) -> bool:
        return bool(self.candidates) or self.contention

    @property
    def digests(self) -> frozenset[str]:
        """The blobs among it."""
        return frozenset(digest for digest, *_ in self.candidates)


NOTHING: Final = Work(frozenset(), contention=False)


def work_left(
    table: Table, models: Sequence[Model], engines: Sequence[Engine], effort: Effort, batches: Sequence[int] = (1,)
) -> Work:
    """What `table` lacks.

    A designed effort is content with blobs of which anything is known that was measured or predicted here; others want
    everything measured for as long as they ask, on the alternates as well, and in `batches` of frames. `engines`: the
    main one first.
    """
    if not models:
        return NOTHING
    if effort.designed:
        wanted = frozenset(_candidates(models, engines[:1], (1,)))
        lacking = set(table.missing(digest for digest, *_ in wanted))
        candidates = frozenset(c for c in wanted if c[0] in lacking)
        return Work(candidates, bool(candidates) and table.contention == Contention())
    marked = {u.digest for u in table.unusable}
    enough = {(row.digest, row.engine, row.threads, row.batch) for row in table.rows if is_enough(row, effort)}
    wanted = frozenset(_candidates(models, engines, batches))
    candidates = frozenset(c for c in wanted if c[0] not in marked and c not in enough)
    return Work(candidates, not table.contention.complete)


def is_enough(row: Row, effort: Effort) -> bool:
    """Whether the row was measured as long as `effort` would, or is as certain as that asks for."""
    return (
        row.source == MEASURED
        and row.complete
        and (row.uncertainty <= effort.uncertainty or len(row.cold_samples_ms) >= effort.max_rounds)
    )


def opened(table: Table, effort: Effort) -> Table:
    """`table` with the rows that `effort` goes on with marked as incomplete: a quicker one was content with them."""
    if effort.designed:
        return table
    rows = tuple(
        replace(row, complete=False) if row.source == MEASURED and row.complete and not is_enough(row, effort) else row
        for row in table.rows
    )
    return replace(table, rows=rows)


def forgotten(table: Table, effort: Effort) -> Table:
    """`table` when everything is to be measured again: nothing is unusable, and rows stand until they are replaced.

    Those of a designed effort go at once: it replaces only what it chooses to measure.
    """
    kept = () if effort.designed else (row for row in table.rows if row.source == MEASURED)
    rows = tuple(replace(row, samples_ms=(), cold_samples_ms=(), complete=False) for row in kept)
    return replace(table, rows=rows, unusable=(), contention=Contention())


def _candidates(models: Sequence[Model], engines: Sequence[Engine], batches: Sequence[int]) -> Iterator[Candidate]:
    """Heads run on the main engine only, and on single frames."""
    for model in models:
        for block in model.blocks:
            for variant in block.variants:
                yield from _of_artifacts(variant.artifacts, engines, batches)
        for exit_ in model.exits:
            yield from _of_artifacts(exit_.artifacts, engines[:1], (1,))


def _of_artifacts(
    artifacts: Sequence[Artifact], engines: Sequence[Engine], batches: Sequence[int]
) -> Iterator[Candidate]:
    for artifact, engine, batch in product(artifacts, engines, batches):
        if engine.name == artifact.engine:
            yield artifact.digest, engine.name, engine.threads, batch
