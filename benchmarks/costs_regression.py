"""How well variants that were never measured are predicted: of whole networks left out, and beside a designed subset.

Every blob of the zoo (see `cost_stores`) is measured as a profile measures it. Then one network after the other is
predicted from the rest, as if its store had just been installed and nothing of it measured; and of three networks the
designed subset stands for what a quick profile measures, and the rest is predicted from it.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cost_stores import SUBJECTS, available, cost_store
from benchmarks.harness import Figure, Target
from blockprofiles.design import designed_subset
from blockprofiles.effort import QUICK, STANDARD
from blockprofiles.estimator import corrected, estimator
from blockprofiles.forecast import predicted_rows
from blockprofiles.listener import Silent
from blockprofiles.measure import measure as measure_rows
from blockprofiles.operators import Operator, operators_of
from blockprofiles.record import Row
from blockprofiles.regression import Sample, fit, memory_variables
from blockstore.block import Model
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxEngine

ENGINE = "onnxruntime"
TOGETHER = ("resnet20", "resnet56", "mobilenetv2")
"""Networks of the store that a quick profile is thought of."""
FAMILY = ("resnet20", "resnet56")
"""Networks that are made of the same blocks: each is easy to predict from the other."""
PASSES = 3
"""Over all networks: a slow phase of the host hits one network in one pass, and medians of passes pass over it."""
BUDGET_S = 10.0
QUICK_BUDGET_S = 1.0
"""For the rows of one network in one pass."""
FIGURES = (
    "regression_error_median",
    "regression_error_p90",
    "regression_error_family",
    "regression_memory_error",
    "regression_coverage",
    *(f"{name}_regression_error" for name in SUBJECTS),
    "subset_measured",
    "subset_time",
    "subset_error_median",
    "subset_error_p90",
    "subset_error_alone",
    "subset_memory_error",
    "subset_coverage",
)


@dataclass(frozen=True)
class Zoo:
    """Networks whose blobs were measured."""

    models: Mapping[str, Model]
    rows: Mapping[str, Row]
    """By digest."""
    operators: Mapping[str, Sequence[Operator]]

    def samples(self, name: str, of: Callable[[Row], float]) -> list[Sample]:
        """The measured blobs of a network."""
        digests = dict.fromkeys(a.digest for a in self.models[name].artifacts() if a.digest in self.rows)
        return [Sample(tuple(self.operators[d]), of(self.rows[d]), name) for d in digests]


def measure(folder: Path, quick: bool) -> dict[str, Figure]:
    """All figures, on a store that is made at `folder`."""
    names = TOGETHER if quick else available()
    zoo = _measured(cost_store(folder, names), names, quick)
    absent = {
        f"{name}_regression_error": Figure(None, "%", reason="not in a quick run, or needs ../shared")
        for name in SUBJECTS
        if name not in names
    }
    return {**_networks_left_out(zoo), **absent, **_subset(zoo)}


def _measured(folder: Path, names: Sequence[str], quick: bool) -> Zoo:
    """Rows and operators of the blobs of these networks."""
    passes: defaultdict[str, list[Row]] = defaultdict(list)
    with Store.open(folder) as store:
        models = {name: store.model(name) for name in names}
        for model in (*models.values(),) * PASSES:
            found = measure_rows(
                (model,),
                (OnnxEngine(threads=1),),
                store.path,
                effort=QUICK if quick else STANDARD,
                budget_s=QUICK_BUDGET_S if quick else BUDGET_S,
                now=time.perf_counter,
                listener=Silent(),
            )
            for row in found.rows:
                passes[row.digest].append(row)
        operators = {digest: operators_of(store.path(digest)) for digest in passes}
    return Zoo(models, {digest: _median_of(rows) for digest, rows in passes.items()}, operators)


def _median_of(rows: Sequence[Row]) -> Row:
    """The row of the pass that was neither the quickest nor the slowest."""
    return sorted(rows, key=_latency)[len(rows) // 2]


def _networks_left_out(zoo: Zoo) -> dict[str, Figure]:
    """Errors of the blobs of each network, predicted from those of all others."""
    errors, covered = {}, []
    for name in zoo.models:
        rest = [s for other in zoo.models if other != name for s in zoo.samples(other, _latency)]
        predictor = estimator(rest)
        own = zoo.samples(name, _latency)
        predictions = [predictor.predict(sample.operators, name) for sample in own]
        errors[name] = [_error(p.value, s.measured) for p, s in zip(predictions, own, strict=True)]
        covered += [abs(s.measured / p.value - 1) <= p.uncertainty for p, s in zip(predictions, own, strict=True)]
    every = [error for each in errors.values() for error in each]
    return {
        "regression_error_median": Figure(statistics.median(every), "%", Target("<=", 15), errors),
        "regression_error_p90": Figure(float(np.percentile(every, 90)), "%"),
        "regression_error_family": _family(zoo, errors),
        "regression_memory_error": _memory(zoo),
        "regression_coverage": Figure(100 * statistics.fmean(covered), "%", Target(">=", 90)),
        **{f"{name}_regression_error": Figure(statistics.median(each), "%") for name, each in errors.items()},
    }


def _family(zoo: Zoo, errors: Mapping[str, Sequence[float]]) -> Figure:
    """As `regression_error_median`, with none of the family known when one of it is predicted."""
    predictor = corrected([s for name in zoo.models if name not in FAMILY for s in zoo.samples(name, _latency)])
    samples = [s for name in FAMILY for s in zoo.samples(name, _latency)]
    of_family = [_error(predictor.value(s.operators)[0], s.measured) for s in samples]
    others = [error for name, each in errors.items() if name not in FAMILY for error in each]
    return Figure(statistics.median([*of_family, *others]), "%", Target("<=", 15), {"family": of_family})


def _memory(zoo: Zoo) -> Figure:
    """Errors of memory, as `regression_error_median`."""
    errors = {}
    for name in zoo.models:
        rest = [s for other in zoo.models if other != name for s in zoo.samples(other, _memory_bytes)]
        predictor = corrected(rest, memory_variables)
        own = zoo.samples(name, _memory_bytes)
        errors[name] = [_error(predictor.value(s.operators)[0], s.measured) for s in own]
    return Figure(statistics.median(error for each in errors.values() for error in each), "%", samples=errors)


def _subset(zoo: Zoo) -> dict[str, Figure]:
    """Errors of the blobs of three networks that are not in the designed subset, predicted from those that are."""
    models = [zoo.models[name] for name in TOGETHER]
    digests = {a.digest for model in models for a in model.artifacts() if a.digest in zoo.rows}
    chosen = designed_subset(models, ENGINE, zoo.operators) & digests
    measured = [zoo.rows[digest] for digest in chosen]
    predicted = [r for r in predicted_rows(models, measured, zoo.operators, ENGINE, 1) if r.digest in digests]
    errors = [_error(row.latency_ms, zoo.rows[row.digest].latency_ms) for row in predicted]
    memory = [_error(row.memory_bytes, zoo.rows[row.digest].memory_bytes) for row in predicted]
    alone = fit([Sample(tuple(zoo.operators[row.digest]), row.latency_ms) for row in measured])
    errors_alone = [_error(alone.cost(zoo.operators[row.digest]), zoo.rows[row.digest].latency_ms) for row in predicted]
    covered = [abs(zoo.rows[r.digest].latency_ms / r.latency_ms - 1) <= r.uncertainty for r in predicted]
    whole_ms = sum(zoo.rows[digest].latency_ms for digest in digests)
    return {
        "subset_measured": Figure(100 * len(chosen) / len(digests), "%"),
        "subset_time": Figure(100 * sum(row.latency_ms for row in measured) / whole_ms, "%"),
        "subset_error_median": Figure(statistics.median(errors), "%", Target("<=", 10), {"errors": errors}),
        "subset_error_p90": Figure(float(np.percentile(errors, 90)), "%"),
        "subset_error_alone": Figure(statistics.median(errors_alone), "%", samples={"errors": errors_alone}),
        "subset_memory_error": Figure(statistics.median(memory), "%", Target("<=", 10), {"errors": memory}),
        "subset_coverage": Figure(100 * statistics.fmean(covered), "%", Target(">=", 90)),
    }


def _error(predicted: float, measured: float) -> float:
    """Absolute, in percent of what was measured."""
    return 100 * abs(predicted / measured - 1)


def _latency(row: Row) -> float:
    return row.latency_ms


def _memory_bytes(row: Row) -> float:
    return row.memory_bytes
