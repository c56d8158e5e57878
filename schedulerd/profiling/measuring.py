"""What a worker does with its job: times what it was told to, then the company, then predicts the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from blockprofiles.bench import Engine
from blockprofiles.contention import Contention
from blockprofiles.events import Curves
from blockprofiles.loads import measure_contention
from blockprofiles.measure import measure
from blockstore.block import Model
from schedulerd.profiling.announced import AnnouncedEngine
from schedulerd.profiling.job import Job
from schedulerd.profiling.predicting import Operators, chosen, predictions, read_operators
from schedulerd.profiling.reporter import Reporter
from schedulerd.serving.engines.alternates import engines_for

AFTERWARDS_S: Final = 2.0
"""Of a quick profile's time: for predicting, and for what company does."""
READING_SHARE: Final = 1 / 3
"""Of its time, after which no more blobs are read: a slow board takes the rest as their manifests describe them."""


def carry_out(
    job: Job, reporter: Reporter, cores: Collection[int], now: Callable[[], float] = time.perf_counter
) -> None:
    """Do `job` in this process, which is on the cores that a lane would have, and tell what comes of it.

    `cores`: all that the board may use.
    """
    began_s = now()
    reporter.begin(None)
    engines: Sequence[Engine] = engines_for(job.engine, job.threads, job.also, job.device)
    if job.careful:
        digests = {path: digest for digest, path in job.paths.items()}
        engines = [AnnouncedEngine(engine, digests, reporter) for engine in engines]
    marked = {u.digest for u in job.table.unusable}
    operators: Operators = {}
    budget_s = job.budget_s
    if job.effort.designed:
        limit_s = None if budget_s is None else began_s + READING_SHARE * budget_s
        operators = read_operators(job, marked, reporter, lambda: limit_s is not None and now() >= limit_s)
        budget_s = None if budget_s is None else max(0.0, budget_s - AFTERWARDS_S - (now() - began_s))
    measured = measure(
        job.models,
        engines if job.alternates else engines[:1],
        job.paths.__getitem__,
        effort=job.effort,
        budget_s=budget_s,
        now=now,
        listener=reporter,
        table=job.table,
        only=chosen(job, marked, operators) if job.effort.designed else job.only,
        batches=job.batches,
    )
    marked |= {u.digest for u in measured.unusable}
    table = job.table.merged(measured.rows, job.table.measured_at)
    if table.missing(job.only - marked):
        if not job.effort.designed:
            operators = read_operators(job, marked, reporter)
        reporter.rows(predictions(job, table.rows, marked, operators))
    if job.contention and not job.careful:
        models = [model for model in job.models if _runs(model, job, marked)]
        beating = _beating(now, reporter)
        contention = measure_contention(
            models, engines[0], job.paths.__getitem__, cores=cores, effort=job.effort, now=beating
        )
        if contention != Contention():
            reporter.say(Curves(contention))


def _runs(model: Model, job: Job, marked: set[str]) -> bool:
    """Whether nothing is known against the original route of a model."""
    originals = [block.variants[0].artifact(job.engine) for block in model.blocks]
    return all(a is not None and a.digest in job.paths and a.digest not in marked for a in originals)


def _beating(now: Callable[[], float], reporter: Reporter) -> Callable[[], float]:
    """A clock whose use tells the parent that the measuring goes on."""

    def read() -> float:
        reporter.progress(1.0, None)
        return now()

    return read
