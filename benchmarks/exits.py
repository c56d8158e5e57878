"""Early exits on CIFAR-10: what BranchyNet, FlexDNN and multi-exit networks save, and what serving makes of it.

Needs ../shared beside the checkout. Networks and heads are taught once (about an hour for all three on two cores) and
kept in out/exits; every figure is worked out anew from them. Heads of all methods stand on the same frozen backbone and
learn from the same batches. Temperatures, plans and thresholds are chosen on held-back images, the figures are of test
images that nothing was chosen on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psutil

from benchmarks import exits_serving
from benchmarks.backbones import BACKBONES, IMAGES, OUT, Backbone, parts, taught
from benchmarks.exits_fronts import asked, at_drop, front, samples_of
from benchmarks.exits_study import EPOCHS, Study, study
from benchmarks.exits_timing import mean_ms, shared_prefix
from benchmarks.harness import Figure, Options, Target, kept, main
from blockstore.build.exits.descent import IDLE
from blockstore.build.progress import shown

ALLOWED_DROP = 0.005
"""Of accuracy, at which methods are compared."""
MARKS = (0.5, 0.7)
"""Thresholds at which leaving is judged."""
METHODS = ("branchynet", "flexdnn", "mxn", "branchynet_searched")
OF_A_NETWORK = (
    "accuracy",
    "multiply_adds",
    *(f"{method}_{what}" for method in METHODS for what in ("cost", "drop", "ms")),
    "no_exits_ms",
    *(f"{prefix}saved_over_{other}" for prefix in ("", "flexdnn_", "mxn_") for other in ("branchynet", "no_exits")),
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


OVERALL = "shared_prefix_speedup"
FIGURES = (*(f for b in BACKBONES for f in figures_of(b)), OVERALL, *exits_serving.FIGURES)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not IMAGES.is_dir():
        reason = "needs ../shared beside the checkout"
        return {f: Figure(None, "-", reason=reason) for f in FIGURES if options.wants(f)}
    found: dict[str, Figure] = {}
    for backbone in BACKBONES:
        if options.wants(*figures_of(backbone), OVERALL):
            found |= kept(figures_of(backbone), partial(_network, backbone, options.quick))
    speedups = [f for b in BACKBONES if (f := found.get(f"{b.name}_{OVERALL}")) and f.value is not None]
    if speedups:
        found[OVERALL] = min(speedups, key=lambda figure: figure.value or 0.0)
    if options.wants(*exits_serving.FIGURES):
        found |= kept(exits_serving.FIGURES, partial(exits_serving.measure, options))
    return {name: figure for name, figure in found.items() if options.wants(name)}


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
    """Costs on the test images at the same loss of accuracy there, all methods at the places that FlexDNN keeps.

    In BranchyNet, as it is published, every head is evaluated for every frame that comes there. With our search, which
    may leave heads out, and all places to choose from, it is better than itself; that is shown, too.
    """
    places = made.final["flexdnn"].planned()
    fronts = {
        "branchynet": front(made.final["branchynet"].of(places), IDLE),
        "flexdnn": front(made.final["flexdnn"].of(places)),
        "mxn": front(made.final["mxn"].of(made.final["mxn"].planned())),
        "branchynet_searched": front(made.final["branchynet"]),
    }
    whole = made.final["flexdnn"].costs.whole
    costs = {name: at_drop(points, ALLOWED_DROP, whole) for name, points in fronts.items()}
    # Which of the two it is, the held-back images say.
    ours = min(("flexdnn", "mxn"), key=lambda name: asked(fronts[name]).held_back.cost)
    times_ms = mean_ms(made, {name: (asked(f).heads, asked(f).thresholds) for name, f in fronts.items()})
    found = {
        "accuracy": Figure(100 * made.final["flexdnn"].test.full_accuracy, "%"),
        "no_exits_ms": times_ms["no_exits"],
        "multiply_adds": Figure(whole, "multiply-adds"),
    }
    for name, points in fronts.items():
        found[f"{name}_cost"] = Figure(costs[name] / whole, "of the whole", None, samples_of(points, whole))
        found[f"{name}_drop"] = Figure(100 * asked(points).drop, "points", Target("<=", 100 * ALLOWED_DROP))
        found[f"{name}_ms"] = times_ms[name]

    def saved(one: float, other: float, target: Target | None = None) -> Figure:
        return Figure(1 - one / other, "of multiply-adds", target)

    own = costs[ours]
    found["saved_over_branchynet"] = saved(own, costs["branchynet"], Target(">=", 0.25))
    found["saved_over_no_exits"] = saved(own, whole, Target(">=", 0.35))
    found["saved_over_branchynet_searched"] = saved(own, costs["branchynet_searched"])
    for name in ("flexdnn", "mxn"):
        found[f"{name}_saved_over_branchynet"] = saved(costs[name], costs["branchynet"])
        found[f"{name}_saved_over_no_exits"] = saved(costs[name], whole)
    ms = {name: figure.value or 0.0 for name, figure in times_ms.items()}
    found["saved_ms_over_branchynet"] = Figure(1 - ms[ours] / ms["branchynet"], "of ms")
    found["saved_ms_over_no_exits"] = Figure(1 - ms[ours] / ms["no_exits"], "of ms")
    return found


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
