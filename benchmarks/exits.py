"""Early exits on CIFAR-10: what BranchyNet, FlexDNN and multi-exit networks save, and what serving makes of it.

Needs ../shared beside the checkout. Networks and heads are taught once (most of an hour for all three on two cores) and
kept in out/exits; every figure is worked out anew from them. Heads of all methods stand on the same frozen backbone and
learn from the same batches. Temperatures, plans and thresholds are chosen on held-back images, the figures are of test
images that nothing was chosen on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import psutil

from benchmarks import exits_serving
from benchmarks.backbones import BACKBONES, IMAGES, OUT, Backbone, parts, taught
from benchmarks.exits_study import Heads, Study, study
from benchmarks.exits_timing import mean_ms, shared_prefix
from benchmarks.harness import Figure, Options, Target, main
from blockstore.build.exits.descent import IDLE, OFF, Thresholds
from blockstore.build.exits.policies import Outcome, cheapest, outcome
from blockstore.build.progress import shown

ALLOWED_DROP = 0.005
"""Of accuracy, at which methods are compared."""
EPOCHS = 3
MARKS = (0.5, 0.7)
"""Thresholds at which leaving is judged."""
METHODS = ("branchynet", "flexdnn", "mxn")
OF_A_NETWORK = (
    "accuracy",
    *(f"{method}_{what}" for method in METHODS for what in ("cost", "drop", "ms")),
    "branchynet_searched_cost",
    "no_exits_ms",
    *(f"{prefix}saved_over_{other}" for prefix in ("", "flexdnn_") for other in ("branchynet", "no_exits")),
    "saved_over_branchynet_searched",
    "saved_ms_over_branchynet",
    "saved_ms_over_no_exits",
    "shared_prefix_speedup",
)
OF_ABLATIONS = (
    *(
        f"{loss}_{what}_at_{mark}"
        for loss in ("cross_entropy", "focal")
        for what in ("precision", "recall")
        for mark in MARKS
    ),
    "aggregation_gain",
)


def figures_of(backbone: Backbone) -> tuple[str, ...]:
    """Full names of the figures of one network."""
    return tuple(f"{backbone.name}_{f}" for f in (*OF_A_NETWORK, *(OF_ABLATIONS if backbone.ablations else ())))


FIGURES = (*(f for b in BACKBONES for f in figures_of(b)), *exits_serving.FIGURES)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not IMAGES.is_dir():
        reason = "needs ../shared beside the checkout"
        return {f: Figure(None, "-", reason=reason) for f in FIGURES if options.wants(f)}
    found: dict[str, Figure] = {}
    for backbone in BACKBONES:
        if options.wants(*figures_of(backbone)):
            found |= _kept(figures_of(backbone), partial(_network, backbone, options.quick))
    if options.wants(*exits_serving.FIGURES):
        found |= _kept(exits_serving.FIGURES, partial(exits_serving.measure, options.quick))
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _kept(names: tuple[str, ...] | list[str], figures: Callable[[], Mapping[str, Figure]]) -> Mapping[str, Figure]:
    """What `figures` gives, shown at once; where it fails, the reason: others are not lost with it."""
    try:
        found = figures()
    except Exception as error:
        return {name: Figure(None, "-", reason=f"{type(error).__name__}: {error}") for name in names}
    for name, figure in found.items():
        print(figure.line(name), file=sys.stderr, flush=True)
    return found


def _network(backbone: Backbone, quick: bool) -> dict[str, Figure]:
    images = parts(quick)
    network = taught(backbone, images.learning, quick)
    threads = psutil.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch, shown() as progress:
        folder = Path(scratch) if quick else OUT
        made = study(backbone, network, images, folder, 1 if quick else EPOCHS, threads, progress)
        found = {**_saved(made), **shared_prefix(made)}
        if backbone.ablations:
            found |= {**_losses(made), **_aggregation(made)}
    return {f"{backbone.name}_{name}": figure for name, figure in found.items()}


# Computation at the same accuracy.


def _saved(made: Study) -> dict[str, Figure]:
    """Costs at the same accuracy.

    BranchyNet is taken twice at the places that FlexDNN keeps: as it is published, where every head is evaluated for
    every frame that comes there, and with our search, which may leave heads out. FlexDNN and MXN have that search too.
    """
    flexdnn, mxn = made.pruned["flexdnn"], made.pruned["mxn"]
    contenders = {
        "branchynet": made.broad["branchynet"].of(flexdnn.planned()),
        "flexdnn": flexdnn,
        "mxn": mxn,
    }
    chosen = {name: _thresholds(heads) for name, heads in contenders.items()}
    searched = outcome(contenders["branchynet"].test, contenders["branchynet"].costs, chosen["branchynet"])
    chosen["branchynet"] = _thresholds(contenders["branchynet"], IDLE)
    results = {name: outcome(heads.test, heads.costs, chosen[name]) for name, heads in contenders.items()}
    times_ms = mean_ms(made, contenders, chosen)
    full = flexdnn.test.full_accuracy
    found = {"accuracy": Figure(100 * full, "%"), "no_exits_ms": times_ms["no_exits"]}
    for name, heads in contenders.items():
        found |= {f"{name}_{what}": figure for what, figure in _of_method(heads, results[name], full).items()}
        found[f"{name}_ms"] = times_ms[name]
    found["branchynet_searched_cost"] = Figure(searched.cost / flexdnn.costs.whole, "of the whole")
    found["saved_over_branchynet_searched"] = Figure(1 - results["mxn"].cost / searched.cost, "of multiply-adds")
    return {**found, **_ratios(results, flexdnn.costs.whole, times_ms)}


def _thresholds(heads: Heads, nobody: float = OFF) -> Thresholds:
    """The cheapest on the held-back images that lose no more than is allowed."""
    return cheapest(heads.held_back, heads.costs, heads.held_back.full_accuracy - ALLOWED_DROP, nobody)


def _of_method(heads: Heads, result: Outcome, full: float) -> dict[str, Figure]:
    samples = {
        "blocks": [float(learner.block) for learner in heads.learners],
        "shares": list(result.shares),
        "heads": [cost / heads.costs.whole for cost in heads.costs.heads],
        "accuracy_alone": [float(row.mean()) for row in heads.test.worth],
        "temperatures": list(heads.temperatures),
    }
    return {
        "cost": Figure(result.cost / heads.costs.whole, "of the whole", None, samples),
        "drop": Figure(100 * (full - result.accuracy), "points", Target("<=", 100 * ALLOWED_DROP)),
    }


def _ratios(results: Mapping[str, Outcome], whole: float, times_ms: Mapping[str, Figure]) -> dict[str, Figure]:
    branchynet, flexdnn, mxn = (results[name].cost for name in ("branchynet", "flexdnn", "mxn"))

    def ms(name: str) -> float:
        value = times_ms[name].value
        assert value is not None
        return value

    return {
        "saved_over_branchynet": Figure(1 - mxn / branchynet, "of multiply-adds", Target(">=", 0.25)),
        "saved_over_no_exits": Figure(1 - mxn / whole, "of multiply-adds", Target(">=", 0.35)),
        "flexdnn_saved_over_branchynet": Figure(1 - flexdnn / branchynet, "of multiply-adds"),
        "flexdnn_saved_over_no_exits": Figure(1 - flexdnn / whole, "of multiply-adds"),
        "saved_ms_over_branchynet": Figure(1 - ms("mxn") / ms("branchynet"), "of ms"),
        "saved_ms_over_no_exits": Figure(1 - ms("mxn") / ms("no_exits"), "of ms"),
    }


# Losses and aggregation, one change at a time.


def _losses(made: Study) -> dict[str, Figure]:
    """Precision (right among those that leave) and recall (share that leaves) of each exit, before calibration."""
    found = {}
    for loss, name in (("cross_entropy", "aggregated"), ("focal", "mxn")):
        seen = made.broad[name].raw
        for mark in MARKS:
            leaves = seen.confidence >= mark
            precision = [float(w[ls].mean()) if ls.any() else 1.0 for w, ls in zip(seen.worth, leaves, strict=False)]
            recall = [float(row.mean()) for row in leaves]
            found[f"{loss}_precision_at_{mark}"] = _over_exits(precision)
            found[f"{loss}_recall_at_{mark}"] = _over_exits(recall)
    return found


def _over_exits(shares: list[float]) -> Figure:
    return Figure(100 * sum(shares) / len(shares), "%", None, {"per_exit": [100 * s for s in shares]})


def _aggregation(made: Study) -> dict[str, Figure]:
    """Accuracy that later exits gain by the features of the exit before them."""
    off, on = ([100 * float(row.mean()) for row in made.broad[n].test.worth[:-1]] for n in ("flexdnn", "aggregated"))
    gains = [b - a for a, b in zip(off[1:], on[1:], strict=True)]
    return {"aggregation_gain": Figure(sum(gains) / len(gains), "points", None, {"off": off, "on": on})}


if __name__ == "__main__":
    sys.exit(main("exits", FIGURES, measure))
