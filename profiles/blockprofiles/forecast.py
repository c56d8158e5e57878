"""Rows of blobs that were not measured here yet, predicted from those that were."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from blockprofiles.blobs import Blob, blobs_of
from blockprofiles.estimator import Corrected, corrected, estimator
from blockprofiles.operators import Operator
from blockprofiles.record import MEASURED, PREDICTED, Row
from blockprofiles.regression import Sample, Variables, latency_variables, memory_variables
from blockstore.block import Model

LEAST_MS: Final = 1e-3
"""A call of an engine takes that long whatever it does."""

Operators = tuple[Operator, ...]


def predicted_rows(
    models: Sequence[Model],
    rows: Sequence[Row],
    operators: Mapping[str, Sequence[Operator]],
    engine: str,
    threads: int,
) -> tuple[Row, ...]:
    """A row for each blob of `models` that `engine` runs and that has no measured one with these `threads`.

    Fitted to the measured ones among `rows`; without any there is no prediction. `operators` are those of all such
    blobs, also the measured ones, by digest. A blob without them (another engine than onnxruntime, or an unreadable
    file) is taken as one operator of the multiply-adds and sizes in its manifest, and so are all others to predict it.
    """
    ours = [r for r in rows if (r.engine, r.threads, r.batch, r.source) == (engine, threads, 1, MEASURED)]
    measured = {row.digest: row for row in ours}
    blobs = {blob.digest: blob for model in models for blob in blobs_of(model, engine)}
    known = [blobs[digest] for digest in measured if digest in blobs]
    wanted = [blob for blob in blobs.values() if blob.digest not in measured]
    read = {digest: tuple(kernels) for digest in blobs if (kernels := operators.get(digest))}
    found = _forecast(_with(known, read), measured, _with(wanted, read))
    rest = [blob for blob in wanted if blob.digest not in found]
    found |= _forecast([(b, b.whole) for b in known], measured, [(b, b.whole) for b in rest])
    return tuple(found[blob.digest] for blob in wanted if blob.digest in found)


def _with(blobs: Sequence[Blob], read: Mapping[str, Operators]) -> list[tuple[Blob, Operators]]:
    """Those of `blobs` whose operators could be read, with them."""
    return [(blob, read[blob.digest]) for blob in blobs if blob.digest in read]


def _forecast(
    known: Sequence[tuple[Blob, Operators]], measured: Mapping[str, Row], wanted: Sequence[tuple[Blob, Operators]]
) -> dict[str, Row]:
    """Rows by digest of the blobs with these operators."""
    if not known or not wanted:
        return {}
    pairs = [(operators, measured[blob.digest]) for blob, operators in known]
    latency = estimator([Sample(operators, measured[b.digest].latency_ms, b.model) for b, operators in known])
    cold = _fitted([(operators, row.cold_ms) for operators, row in pairs], latency_variables)
    memory = _fitted([(operators, row.memory_bytes) for operators, row in pairs], memory_variables)
    arena = _fitted([(_peak(operators), row.arena_bytes) for operators, row in pairs], _moved)
    tail = statistics.median(row.latency_p95_ms / row.after_others_ms for _, row in pairs)
    any_row = pairs[0][1]
    found = {}
    for blob, operators in wanted:
        predicted = latency.predict(operators, blob.model)
        latency_ms = max(LEAST_MS, predicted.value)
        cold_ms = None if cold is None else max(latency_ms, cold.value(operators)[0])
        found[blob.digest] = Row(
            digest=blob.digest,
            engine=any_row.engine,
            threads=any_row.threads,
            latency_ms=latency_ms,
            latency_p95_ms=max(1.0, tail) * (cold_ms or latency_ms),
            memory_bytes=1 if memory is None else max(1, round(memory.value(operators)[0])),
            cold_ms=cold_ms,
            arena_bytes=0 if arena is None else round(arena.value(_peak(operators))[0]),
            source=PREDICTED,
            uncertainty=predicted.uncertainty,
            complete=False,
        )
    return found


def _fitted(pairs: Sequence[tuple[Operators, float | None]], variables: Variables) -> Corrected | None:
    """What predicts this quantity; None where it was measured of no blob."""
    samples = [Sample(operators, value) for operators, value in pairs if value]
    return corrected(samples, variables) if samples else None


def _peak(operators: Operators) -> Operators:
    """The operator that holds most activations at once."""
    return (max(operators, key=lambda operator: operator.moved_bytes),)


def _moved(operator: Operator) -> Mapping[str, float]:
    return {"moved": operator.moved_bytes}
