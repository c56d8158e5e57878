"""The optimizer: how long a decision takes, how far it is from the best one, and what it is worth beside others' rules.

Decisions over random instances need nothing but this checkout; those over real networks take the demo's store, measured
on this machine, and with `--store DIR` (repeatable) the networks of other stores as well.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import optimizer_quality, optimizer_timing
from benchmarks.harness import Figure, Options, kept, main
from benchmarks.optimizer_gap import Gap

FIGURES = (*optimizer_timing.FIGURES, *optimizer_quality.FIGURES)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for; what one part fails of does not stop the others."""
    effort = optimizer_timing.QUICK if options.quick else optimizer_timing.FULL
    found: dict[str, Figure] = {}
    gaps: list[Gap] = []
    for kind in optimizer_timing.KINDS:
        if options.wants(*kind.figures(), *optimizer_timing.OVERALL):
            found |= kept(kind.figures(), partial(optimizer_timing.measure_kind, kind, effort, gaps))
    if gaps:
        found |= optimizer_timing.overall(gaps)
    overloaded = optimizer_timing.OVERLOADED
    if options.wants(*overloaded.figures()):
        found |= kept(overloaded.figures(), partial(optimizer_timing.measure_kind, overloaded, effort, []))
    if options.wants(*optimizer_timing.OF_CHANGES):
        found |= kept(optimizer_timing.OF_CHANGES, partial(optimizer_timing.measure_changes, effort))
    if options.wants(*optimizer_quality.FIGURES):
        with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as scratch:
            quality = partial(optimizer_quality.measure, options.stores, Path(scratch), quick=options.quick)
            found |= kept(optimizer_quality.FIGURES, quality)
    return {name: figure for name, figure in found.items() if options.wants(name)}


if __name__ == "__main__":
    sys.exit(main("optimizer", FIGURES, measure, stores=True))
