"""What a worker need not measure: which blobs a quick profile chooses, and the rows of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from blockprofiles.design import designed_subset
from blockprofiles.errors import CannotRun
from blockprofiles.forecast import predicted_rows
from blockprofiles.listener import begun
from blockprofiles.operators import Operator, operators_of
from blockprofiles.record import Row
from blockstore.block import Block, Model
from schedulerd.profiling.job import Job
from schedulerd.profiling.reporter import Reporter

Operators = Mapping[str, Sequence[Operator]]
"""By digest, of the blobs that were looked at; none of those that could not be read."""


def read_operators(
    job: Job, marked: Collection[str], reporter: Reporter, late: Callable[[], bool] = lambda: False
) -> Operators:
    """Operators of the blobs of the main engine but those that are `marked` as unusable; none for torch.

    It runs each blob once, so the parent is told which. When it is `late`, the others are left out.
    """
    found: dict[str, Sequence[Operator]] = {}
    if job.engine != "onnxruntime":
        return found
    for digest in dict.fromkeys(a.digest for m in job.models for a in m.artifacts() if a.engine == job.engine):
        if digest in job.paths and digest not in marked and not late():
            found[digest] = ()
            with suppress(CannotRun), begun(digest, reporter):
                found[digest] = operators_of(job.paths[digest])
    return found


def chosen(job: Job, marked: Collection[str], operators: Operators) -> frozenset[str]:
    """The blobs that are to be measured so that the others can be predicted.

    Those that could not be read are among them: measuring says what is wrong with them, and marks them.
    """
    gone = {a.digest for m in job.models for a in m.artifacts() if a.digest not in job.paths}.union(marked)
    subset = designed_subset([_without(model, gone) for model in job.models], job.engine, operators)
    return subset.union(digest for digest, kernels in operators.items() if not kernels) & job.only


def predictions(job: Job, rows: Sequence[Row], marked: Collection[str], operators: Operators) -> Sequence[Row]:
    """Rows for what is not measured and not `marked`; `rows`: all that is known."""
    predicted = predicted_rows(job.models, rows, operators, job.engine, job.threads)
    return [row for row in predicted if row.digest in job.paths and row.digest not in marked]


def _without(model: Model, gone: Collection[str]) -> Model:
    """`model` without these blobs: a block's first variant that is left stands for it."""
    exits = (replace(e, artifacts=tuple(a for a in e.artifacts if a.digest not in gone)) for e in model.exits)
    return replace(model, blocks=tuple(_thinned(block, gone) for block in model.blocks), exits=tuple(exits))


def _thinned(block: Block, gone: Collection[str]) -> Block:
    variants = (replace(v, artifacts=tuple(a for a in v.artifacts if a.digest not in gone)) for v in block.variants)
    return replace(block, variants=tuple(variants))
